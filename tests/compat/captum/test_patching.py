"""Ours inside `captum.attr`, and out again."""

from __future__ import annotations

import types

import pytest

from reluxfast.compat import captum as ours
from reluxfast.errors import InvalidInput
from tests.compat.captum.models import case
from tests.compat.captum.parity import attr

NAMES = [name for name in ours.__all__ if hasattr(attr, name) and getattr(attr, name) is not getattr(ours, name)]


def test_every_class_is_among_them():
    assert {
        "LRP",
        "GuidedBackprop",
        "ShapleyValueSampling",
        "DeepLift",
        "NoiseTunnel",
        "LayerIntegratedGradients",
    } <= set(NAMES)
    assert len(NAMES) == 23


def test_names_are_replaced_and_put_back():
    before = {name: getattr(attr, name) for name in NAMES}
    with ours.patch():
        assert all(getattr(attr, name) is getattr(ours, name) for name in NAMES)
        from captum.attr import GuidedBackprop

        model, (x,) = case("cnn")
        assert isinstance(GuidedBackprop(model), ours.GuidedBackprop)
        assert GuidedBackprop(model).attribute(x, 1).shape == x.shape
    assert {name: getattr(attr, name) for name in NAMES} == before


def test_put_back_after_an_exception_and_only_once():
    original = attr.LRP
    with pytest.raises(ZeroDivisionError), ours.patch():
        raise ZeroDivisionError
    assert attr.LRP is original
    patched = ours.patch()
    assert attr.LRP is ours.LRP
    patched.undo()
    attr.LRP = "somebody else's"
    patched.undo()
    assert attr.LRP == "somebody else's"
    attr.LRP = original


def test_nested_patches_end_in_order():
    original = attr.Saliency
    with ours.patch():
        with ours.patch():
            assert attr.Saliency is ours.Saliency
        assert attr.Saliency is ours.Saliency
    assert attr.Saliency is original


def test_modules_that_took_the_names_before():
    user = types.ModuleType("user")
    user.Explain, user.IntegratedGradients, user.other = attr.Saliency, attr.IntegratedGradients, 3
    theirs = attr.Saliency
    with ours.patch(user):
        assert user.Explain is ours.Saliency and user.IntegratedGradients is ours.IntegratedGradients
    assert user.Explain is theirs and user.other == 3


def test_patches_end_in_any_order():
    original = attr.LRP
    first, second = ours.patch(), ours.patch()
    first.undo()
    assert attr.LRP is ours.LRP
    second.undo()
    assert attr.LRP is original


def test_what_is_no_module():
    with pytest.raises(InvalidInput, match="imported modules"):
        ours.patch("captum")


def test_other_names_are_captums():
    from reluxfast.compat.captum import GradientShap, visualization

    assert GradientShap is attr.GradientShap and visualization is attr.visualization
    with pytest.raises(AttributeError, match="NoSuchThing"):
        ours.NoSuchThing  # noqa: B018
