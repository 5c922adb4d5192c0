"""Randomly generated networks against the oracle: combinations that nobody thought of."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reluxfast as rx
from tests.oracles.gradient import reverse
from tests.oracles.rules import RULES, rule_kit
from tests.relevance.cases import BACKENDS
from tests.support import assert_close
from tests.zoo import FUNCTIONAL, INPLACE_MODULES, MODULES, SPELLINGS, spelled
from tests.zoo.random_nets import SIZE, STEPS, RandomNet, Recipe
from tests.zoo.registry import settle

KITS = [MODULES, INPLACE_MODULES, FUNCTIONAL] + [spelled(f) for f in SPELLINGS.values()]

recipes = st.builds(
    Recipe,
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=7).map(tuple),
    head=st.sampled_from(["flatten", "mean"]),
    seed=st.integers(0, 1000),
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(recipe=recipes, kit=st.sampled_from(range(len(KITS))), rows=st.integers(1, 3), target=st.integers(-3, 2))
def test_random_net(recipe, kit, rows, target):
    model = settle(RandomNet(recipe, KITS[kit]), recipe.seed).double().eval()
    generator = torch.Generator(torch.get_default_device()).manual_seed(recipe.seed)
    x = torch.randn(rows, 3, SIZE, SIZE, dtype=torch.float64, generator=generator)
    explainer = rx.Explainer(model, x)
    for rule in RULES:
        oracle = settle(RandomNet(recipe, rule_kit(rule)), recipe.seed).double().eval()
        (expected,) = reverse(oracle, (x,), target)
        for backend in BACKENDS:
            with rx.backend(backend):
                values = explainer.attribute(x, target=target, method=rule).values
            assert_close(values, expected, 1e-12, f"{rule} on {backend}")
