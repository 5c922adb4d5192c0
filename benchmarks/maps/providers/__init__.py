"""Who computes maps: the engine on each backend, its peers and the bare floor, one file for each library.

A new peer is a function `(MapProblem) -> Prepared` and an entry here. What a user does once (capture, layouts, hooks)
happens in that function; only `Prepared.call` is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from reluxfast.benchmarks.maps.problem import METHODS, MapProblem
from reluxfast.benchmarks.maps.providers import ablation, autograd, bare, captum, engine, grad_cam, zennit
from reluxfast.benchmarks.problem import Prepared, Provider
from reluxfast.benchmarks.tuning import searching


def _always(problem: MapProblem) -> bool:
    return True


@dataclass(frozen=True)
class Entry:
    """A provider and where it takes part.

    Attributes:
        provider: prepares it.
        methods: what it can compute, or stands beside as a yardstick.
        takes_part: whether it is compared on this problem, whose method is one of those.
    """

    provider: Provider
    methods: tuple[str, ...] = METHODS
    takes_part: Callable[[MapProblem], bool] = _always


def _on(device_type: str) -> Callable[[MapProblem], bool]:
    return lambda problem: problem.device.type == device_type


def _worth_compiling(problem: MapProblem) -> bool:
    """Compiling takes up to a minute: not in a smoke test, and on a CPU for the gradient alone."""
    return not problem.tiny and (problem.device.type != "cpu" or problem.method == "gradient")


def _both_layouts(provider: Callable[..., Prepared], name: str, entry: Callable[[Provider], Entry]) -> dict[str, Entry]:
    return {
        name: entry(partial(provider, channels_last=False)),
        f"{name} channels_last": entry(searching(partial(provider, channels_last=True))),
    }


_ENTRIES: dict[str, Entry] = {
    "reluxfast cuda": Entry(partial(engine.prepare, backend="cuda"), takes_part=_on("cuda")),
    "reluxfast triton": Entry(partial(engine.prepare, backend="triton"), takes_part=_on("cuda")),
    "reluxfast cpp": Entry(partial(engine.prepare, backend="cpp"), takes_part=_on("cpu")),
    "reluxfast reference": Entry(partial(engine.prepare, backend="reference")),
    **_both_layouts(autograd.eager, "autograd", partial(Entry, methods=autograd.METHODS)),
    "compiled channels_last": Entry(searching(autograd.compiled), autograd.METHODS, _worth_compiling),
    **_both_layouts(captum.prepare, "captum", partial(Entry, methods=captum.METHODS)),
    **_both_layouts(
        captum.additions, "captum additions", partial(Entry, methods=captum.ADDITIONS_METHODS, takes_part=captum.adds)
    ),
    **_both_layouts(zennit.prepare, "zennit", partial(Entry, methods=zennit.METHODS)),
    **_both_layouts(
        grad_cam.prepare, "pytorch-grad-cam", partial(Entry, methods=("grad_cam",), takes_part=grad_cam.takes)
    ),
    "bare": Entry(bare.prepare),
    "algebra": Entry(ablation.prepare),
}
# By name, on whatever device, for whatever method: who cannot do it raises Unavailable.
PROVIDERS: dict[str, Provider] = {name: entry.provider for name, entry in _ENTRIES.items()}


def providers_for(problem: MapProblem) -> dict[str, Provider]:
    """Those that have something to say about this problem, in the order of the table."""
    return {
        name: entry.provider
        for name, entry in _ENTRIES.items()
        if problem.method in entry.methods and entry.takes_part(problem)
    }
