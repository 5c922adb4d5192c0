"""What stands above the numbers: how rows come to be, and what they were measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from reluxfast.benchmarks.document.text import md_table
from reluxfast.benchmarks.results_file import Row, latest
from reluxfast.benchmarks.wording import digits, listed

CPU_COMMAND, GPU_COMMAND = "make bench", "make gpu"

_TITLE = """# Benchmarks

Written by `python -m reluxfast.benchmarks.document --write` from the rows in `benchmarks/results/`; nothing here is
typed by hand.

- *Right or not timed*: before and after it is timed a provider's values are compared with a float64 computation; the
  error stands in its row. Who is wrong is listed as wrong.
- *Interleaved*: providers run in turns, A B C A B C, in one process; who takes long drops out after some rounds, the
  others go on. **ms** is the median of a call over all rounds that the provider was part of, the band beside it
  20-80 % of them (of five or fewer their range); **over engine** is the time over the engine's, taken within each round
  of both: above 1x is slower than the engine, below 1x faster.
- *of floor*: the least time that this machine needs for the arithmetic and the memory traffic of the case, at the
  highest rates of its matrix product and of its copy that the run had seen by then, over the time taken.
- *bare*, *sgemm*, *bare forward* are no providers but the library calls of the walk alone, with nothing between them.
- *peak MB* is memory beyond model and input during a call, *ops* the operations that PyTorch dispatches (kernels on a
  GPU).
- *channels_last*: model and input in that layout, weights frozen; *additions*: a copy of the network with its residual
  additions written as modules, which those peers need; *tuned*: at its best batch; *compiled*: by `torch.compile`."""


def title() -> str:
    """Title and how to read what follows."""
    return _TITLE


def nothing(command: str) -> str:
    """Said where no rows are stored."""
    return f"Nothing is stored: `{command}` measures."


def measured(rows: Sequence[Row], command: str) -> str:
    """Machine, versions, flags, ceilings and count of rows, every value that occurs."""
    environments = [row["environment"] for row in rows]

    def all_of(key: str) -> str:
        return listed(environment.get(key) for environment in environments)

    def rates(key: str, unit: float) -> str:
        found = sorted((environment.get("rates") or {}).get(key) or 0.0 for environment in environments)
        return "-".join(dict.fromkeys(digits(rate / unit) for rate in (found[0], found[-1])))

    names = dict.fromkeys(name for environment in environments for name in environment.get("versions", {}))
    of_name = {name: listed(e.get("versions", {}).get(name) for e in environments) for name in names}
    flags = [key for key in environments[0] if key.endswith("_precision")]
    counts = Counter(row["status"] for row in latest(rows))
    lines = [
        ("device", all_of("device")),
        ("CPU", f"{all_of('cpu')} ({all_of('cpu_capability')}), {all_of('threads')} threads"),
        ("commit", all_of("commit")),
        ("versions", ", ".join(f"{name} {version}" for name, version in of_name.items() if version)),
        ("flags", ", ".join(f"{flag} {all_of(flag)}" for flag in flags)),
        (
            "ceilings",
            f"{rates('gemm_flop_per_s', 1e9)} GFLOP/s (matrix product), {rates('copy_bytes_per_s', 1e9)} GB/s",
        ),
        (
            "measured",
            f"{_day(min(_times(rows)))} to {_day(max(_times(rows)))}, run {listed(row['run'] for row in rows)}",
        ),
        ("rows", ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))),
        ("again with", f"`{command}`"),
    ]
    return md_table(("", "measured on"), [line for line in lines if line[1]])


def _times(rows: Iterable[Row]) -> list[str]:
    return [str(row.get("time", "")) for row in rows]


def _day(time: str) -> str:
    return time[:16].replace("T", " ")
