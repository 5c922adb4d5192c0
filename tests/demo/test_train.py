"""Training: it learns, it is repeatable, and grid pointing finds a planted answer."""

from __future__ import annotations

import torch
from torch import nn

import reluxfast as rx
from reluxfast.demo import checks, data
from reluxfast.demo.models import DigitsNet, PhotoNet, parameters
from reluxfast.demo.run import Trained
from reluxfast.demo.train import accuracy, train


def trained_digits(seed: int) -> tuple[nn.Module, float]:
    torch.manual_seed(seed)
    model = DigitsNet()
    torch.seed()  # training must not lean on the global state
    return model, train(model, data.digits(0), epochs=5, seed=seed, progress=False)


def test_digits_are_learnt_and_the_same_seed_gives_the_same_bits():
    first, score = trained_digits(0)
    again, same_score = trained_digits(0)
    assert score > 0.9 and score == same_score
    assert not first.training
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_networks_have_the_size_they_say():
    assert parameters(DigitsNet()) == 19098
    assert parameters(PhotoNet()) == 19252
    assert PhotoNet().eval()(torch.rand(2, 3, 40, 56)).shape == (2, 4)


def test_accuracy_counts_rows():
    x = torch.eye(4)
    assert accuracy(nn.Identity(), x, torch.tensor([0, 1, 2, 0])) == 0.75


class MeanColour(nn.Module):
    """Logit k is how strongly channel k stands out: each cell of a coloured mosaic speaks for its own class."""

    def __init__(self):
        super().__init__()
        self.block3 = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU())
        with torch.no_grad():
            self.block3[0].weight.copy_(
                torch.tensor([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1.0, 1, -1]])[..., None, None]
            )

    def forward(self, x):
        return self.block3(x).mean((2, 3))


def test_grid_pointing_is_one_for_a_map_that_stays_in_its_cell(monkeypatch):
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.6, 0]])
    monkeypatch.setattr(data, "held_out_windows", lambda: colours[:, :, None, None].expand(4, 3, 96, 96).contiguous())
    split = data.Split(*(torch.empty(0),) * 4, classes=tuple(data.PHOTOS))
    (found,) = checks._grid_pointing(Trained("photos", MeanColour().eval(), "block3", split, 1.0), 0, 3, quick=False)
    # Classes 0 and 3 share the channels red and green, a third of their map lies in each other's cells.
    assert found.value > 0.7
    assert found.ok


def test_the_check_notices_a_wrong_method(monkeypatch):
    """A method that returns the gradient for guided backprop, as hooks do on functional ReLUs, must fail."""
    torch.manual_seed(0)
    t = Trained("digits", DigitsNet().eval(), "joined", data.digits(0), 1.0)
    x, y = t.split.test_x[:4], t.split.test_y[:4]
    assert all(check.ok for check in checks._sums(t, x, y) if "completeness" not in check.name)
    honest = rx.attribute

    def hooked(model, x, target=None, method="gradient", **options):
        return honest(model, x, target, "gradient" if method == "guided_backprop" else method, **options)

    monkeypatch.setattr(rx, "attribute", hooked)
    failed = [check.name for check in checks._sums(t, x, y) if not check.ok and "completeness" not in check.name]
    assert failed == ["digits: guided backprop against gradient"]
