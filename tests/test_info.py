"""rx.info(): what is there, and why the rest is not."""

from __future__ import annotations

import json

import torch

import reluxfast as rx
from reluxfast import ops
from reluxfast.ops import triton_state


def test_info_names_versions_backends_and_reasons():
    info = rx.info()
    facts = json.loads(json.dumps(info.as_dict()))
    assert facts["version"] == rx.__version__
    assert facts["torch"] == torch.__version__
    assert set(facts["backends"]) == set(ops.available_backends())
    assert facts["backends"]["reference"] == "available"
    assert facts["backends"]["cuda"] == (ops.available_backends()["cuda"] or "available")
    assert facts["triton"] == triton_state.version()
    for name in facts["backends"]:
        assert name in str(info)


def test_info_shows_the_backend_in_force():
    with rx.backend("reference"):
        assert rx.info().active_backend == "reference"


def test_info_lists_environment_variables(monkeypatch):
    monkeypatch.setenv("RELUXFAST_SOMETHING", "1")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert rx.info().environment["TRITON_INTERPRET"] == "0"
    assert rx.info().environment["RELUXFAST_SOMETHING"] == "1"
    assert "RELUXFAST_SOMETHING=1" in str(rx.info())
