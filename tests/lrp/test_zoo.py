"""Every construct under every composite, against rules on explicit matrices."""

from __future__ import annotations

import pytest
import torch

import reluxfast as rx
from tests.device import FAST_BACKENDS
from tests.lrp.cases import COMPOSITES, composites
from tests.oracles.inputs import inputs
from tests.oracles.lrp import record_construct
from tests.oracles.test_lrp_zoo import LARGE, REFUSED, SPELLED
from tests.support import assert_close
from tests.zoo import CONSTRUCTS

# A dropout between convolution and batch norm keeps the two apart on the graph; the oracle sees through it.
APART = {"bn_after_dropout"}
# The oracle's network has other nodes for the same function (3 h for h + 2 h), and each node takes its ε.
OTHER_NODES = {"inplace_same_name", "inplace_add_relu_dropout"}
NAMES = [name for name in CONSTRUCTS if name not in LARGE | SPELLED | REFUSED | APART | OTHER_NODES]
# Quotients by almost empty denominators make digits of their own.
FLOAT64 = 1e-9


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", NAMES)
def test_composites(name):
    construct = CONSTRUCTS[name]
    x, model = inputs(construct, torch.float64, 1), construct.model(torch.float64).eval()
    tapes = record_construct(construct, x)
    explainer = rx.Explainer(model, x if len(x) > 1 else x[0])
    for composite in COMPOSITES:
        ours, theirs = composites(composite)
        expected = tapes.explain(theirs, construct.target).values
        for backend in FAST_BACKENDS:
            with rx.backend(backend):
                found = explainer.attribute(x if len(x) > 1 else x[0], construct.target, "lrp", composite=ours).values
            for v, e in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
                assert_close(v, e, FLOAT64, f"{name}, {composite}, {backend}")
