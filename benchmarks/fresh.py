"""Run one measurement in a fresh Python process and get its JSON result back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import reluxfast

_MARK = "result: "


def in_fresh_process(module: str, task: dict[str, Any]) -> dict[str, Any]:
    """`python -m module --worker TASK`, this package first on its path; the worker answers by `answer`.

    RuntimeError with the worker's own output when it fails.
    """
    command = [sys.executable, "-m", module, "--worker", json.dumps(task)]
    found_in = str(Path(reluxfast.__file__).parents[1])
    path = os.pathsep.join(filter(None, (found_in, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in run.stdout.splitlines() if line.startswith(_MARK)]
    if run.returncode != 0 or not lines:
        raise RuntimeError(f"{module} failed on {task} (exit status {run.returncode}):\n{run.stdout}{run.stderr}")
    return json.loads(lines[-1].removeprefix(_MARK))


def answer(result: dict[str, Any]) -> None:
    """Print a worker's result in the form `in_fresh_process` reads."""
    print(_MARK + json.dumps(result), flush=True)
