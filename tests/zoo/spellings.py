"""Every spelling of ReLU, in a convolutional net and in an MLP."""

from __future__ import annotations

from torch import Tensor, nn

from tests.zoo.kit import INPLACE_MODULES, SPELLINGS, Kit, spelled
from tests.zoo.registry import add


class ConvNet(nn.Module):
    """conv, BN, ReLU, max-pool, conv, ReLU, two linear layers: what hook libraries are used on."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(6 * 4 * 4, 8), nn.Linear(8, 4)
        self.act1, self.act2, self.act3 = kit.relu(), kit.relu(), kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act1(self.bn(self.conv1(x))))
        x = self.act2(self.conv2(x)).flatten(1)
        return self.fc2(self.act3(self.fc1(x)))


def mlp(kit: Kit) -> nn.Module:
    """Three linear layers; with a functional spelling the activations are no modules."""

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(10, 12), nn.Linear(12, 9), nn.Linear(9, 4)
            self.act1, self.act2 = kit.relu(), kit.relu()

        def forward(self, x: Tensor) -> Tensor:
            return self.fc3(self.act2(self.fc2(self.act1(self.fc1(x)))))

    return Mlp()


class BareRelu(nn.Module):
    """ReLU of the input and a weighted sum: its gradient at 0 is what methods.md, section 1 fixes."""

    def __init__(self, kit: Kit):
        super().__init__()
        self.act = kit.relu()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(x * 1.0))


add("relu_module", ConvNet)
add("relu_module_inplace", ConvNet, kit=INPLACE_MODULES)
add("mlp", mlp, shape=(10,))
add("mlp_inplace", mlp, shape=(10,), kit=INPLACE_MODULES)
for _name, _function in SPELLINGS.items():
    add(f"relu: {_name}", ConvNet, kit=spelled(_function), tags="spelling")
    add(f"mlp relu: {_name}", mlp, shape=(10,), kit=spelled(_function), tags="spelling")
