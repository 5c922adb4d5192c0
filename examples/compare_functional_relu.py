"""Guided backpropagation on a network written with F.relu: hooks on modules never see it, a captured graph does.

Needs: pip install captum
"""

import warnings

import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop
from torch import nn

import reluxfast as rx


class WithModules(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        return self.head(x.mean((2, 3)))


class WithFunctions(WithModules):
    """The same network, weights and all; only the ReLUs are spelled as functions."""

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.head(x.mean((2, 3)))


def difference(a, b):
    return ((a - b).norm() / b.norm()).item()


torch.manual_seed(0)
modules = WithModules().eval()
functions = WithFunctions().eval()
functions.load_state_dict(modules.state_dict())
x = torch.randn(4, 3, 32, 32)

gradient = rx.gradient(functions, x, 3).values
print("relative difference                     from guided backprop   from the plain gradient")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Captum announces the hooks it sets
    wanted = GuidedBackprop(modules).attribute(x, target=3)
    theirs = GuidedBackprop(functions).attribute(x, target=3)
ours = rx.guided_backprop(functions, x, 3).values
for name, values in (("Captum, nn.ReLU", wanted), ("Captum, F.relu", theirs), ("reluxfast, F.relu", ours)):
    print(f"{name:38s}  {difference(values, wanted):20.1e}   {difference(values, gradient):23.1e}")
