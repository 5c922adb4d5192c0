"""Inputs and models that do not fit raise what pytorch-grad-cam raises, and ours."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import reluxfast as rx
import reluxfast.compat.grad_cam as ours
from tests.compat.grad_cam.networks import Net, images, made
from tests.compat.grad_cam.peer import theirs


class Several(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.net, self.pack = copy.deepcopy(made(Net)), pack
        self.act3 = self.net.act3

    def forward(self, x):
        return self.pack(self.net(x))


def twice(output):
    return output, output


def named(output):
    return {"output": output}


CASES = {
    "channels": (made(Net), images(1, 4, 14, 17), RuntimeError),
    "double": (made(Net), images(1, 3, 14, 17).double(), RuntimeError),
    "half": (made(Net), images(1, 3, 14, 17).half(), RuntimeError),
    "int": (made(Net), images(1, 3, 14, 17).int(), RuntimeError),
    "uint8": (made(Net), torch.ones(1, 3, 14, 17, dtype=torch.uint8), RuntimeError),
    "complex": (made(Net), images(1, 3, 14, 17) + 0j, RuntimeError),
    "small": (made(Net), images(1, 3, 2, 2), RuntimeError),
    "array": (made(Net), np.zeros((1, 3, 14, 17), np.float32), AttributeError),
    "tuple": (made(Net), (images(1, 3, 14, 17),), AttributeError),
    "no batch": (made(Net), images(3, 14, 17), ValueError),
    "tuple output": (Several(twice), images(1, 3, 14, 17), AttributeError),
    "dict output": (Several(named), images(1, 3, 14, 17), AttributeError),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("guided", [False, True])
def test_types(case, guided):
    model, x, kind = CASES[case]
    for package in (theirs, ours):
        own = copy.deepcopy(model)
        made_of = package.GuidedBackpropReLUModel(own, "cpu") if guided else package.GradCAM(own, [own.act3])
        with pytest.raises(kind) as caught:
            made_of(x, None)
    assert isinstance(caught.value, (rx.InvalidInput, rx.UnsupportedNode))


def test_classes_that_the_model_does_not_have():
    for package in (theirs, ours):
        with pytest.raises(IndexError):
            package.GuidedBackpropReLUModel(copy.deepcopy(made(Net)), "cpu")(images(1, 3, 14, 17), 9)


def test_masks_that_are_not_finite():
    mask = np.full((2, 2), 0.5, np.float32)
    mask[0, 1] = np.nan
    with pytest.raises(rx.InvalidInput, match="mask must lie in"):
        ours.show_cam_on_image(np.full((2, 2, 3), 0.5, np.float32), mask)
