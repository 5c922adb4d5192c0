"""The Triton kernels behind the operators themselves; run as a program in the interpreter, without the C++ library.

There they are registered for CPU tensors, just as the package registers them for CUDA tensors.
"""

from __future__ import annotations

import torch

from reluxfast import ops
from reluxfast.ops._register import WITHOUT_TRITON, triton_or_reference
from tests.ops import registration
from tests.ops.test_registration import _EveryOp, _inputs


def main() -> None:
    inputs = [_inputs(layout) for layout in (torch.contiguous_format, torch.channels_last)]
    expected = [_EveryOp()(*given) for given in inputs]
    calls: list[str] = []
    kernels = {name: found for name, found in ops._IMPLEMENTATIONS.items() if name not in WITHOUT_TRITON}
    for name, (_, reference, _) in kernels.items():
        triton = triton_or_reference(name, reference)

        def answer(*arguments, name=name, triton=triton):
            calls.append(name)
            return triton(*arguments)

        torch.library.impl(f"reluxfast::{name}", "CPU", answer)
    for name, arguments in registration.cases():
        registration.check(name, arguments)
    assert {name for name, _ in registration.cases()} == set(ops._IMPLEMENTATIONS) and set(calls) == set(kernels)
    program = torch.export.export(_EveryOp(), inputs[0])
    called = {str(node.target) for node in program.graph.nodes if "reluxfast" in str(node.target)}
    assert called == {f"reluxfast.{name}.default" for name in ops._IMPLEMENTATIONS}
    compiled = torch.compile(_EveryOp(), fullgraph=True, backend="aot_eager")
    for given, wanted in zip(inputs, expected, strict=True):
        calls.clear()
        with torch.no_grad():
            got = compiled(*given)
        assert set(calls) == set(kernels)
        for a, b in zip(got, wanted, strict=True):
            assert torch.equal(a, b) and a.stride() == b.stride()


if __name__ == "__main__":
    main()
    print("right")
