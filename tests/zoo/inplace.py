"""In-place operations whose result is seen through another name; every one has a twin without aliases."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.kit import FUNCTIONAL, INPLACE_MODULES, Kit
from tests.zoo.registry import add


class _Trunk(nn.Module):
    """conv, then `middle`, then a linear head: subclasses differ in `middle` only."""

    width = 6

    def __init__(self, kit: Kit):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(self.width * 36, 4)
        self.relu = kit.relu()

    def middle(self, h: Tensor, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.middle(self.conv(x), x).flatten(1))


def _pair(name: str, notes: str, aliased, plain, width: int = 6, kit: Kit = FUNCTIONAL, tags: str = "") -> None:
    """Registers `aliased(self, h, x)` with its alias-free twin `plain(self, h, x)`."""

    class Aliased(_Trunk):
        middle = aliased

    class Plain(_Trunk):
        middle = plain

    Aliased.width = Plain.width = width
    add(name, Aliased, twin=Plain, shape=(3, 6, 6), kit=kit, notes=notes, tags=f"inplace {tags}")


def _live_view(self, h, x):
    view = h[:, :2]
    h.relu_()
    return torch.cat([view, h], 1)


def _live_view_plain(self, h, x):
    h = self.relu(h)
    return torch.cat([h[:, :2], h], 1)


def _live_view_module(self, h, x):
    view = h.flatten(2)
    self.relu(h)
    return self.conv2(h) + view.view_as(h)


def _live_view_module_plain(self, h, x):
    h = self.relu(h)
    return self.conv2(h) + h


def _chunk_inplace(self, h, x):
    a, _ = h.chunk(2, 1)
    a.relu_()
    return self.conv2(h)


def _chunk_inplace_plain(self, h, x):
    a, b = h.chunk(2, 1)
    return self.conv2(torch.cat([self.relu(a), b], 1))


def _split_inplace(self, h, x):
    h = h.clone()
    _, middle, _ = torch.split(h, [1, 3, 2], 1)
    F.relu_(middle)
    return torch.cat([h, middle], 1)


def _split_inplace_plain(self, h, x):
    a, b, c = torch.split(h, [1, 3, 2], 1)
    b = self.relu(b)
    return torch.cat([a, b, c, b], 1)


def _slice_inplace(self, h, x):
    h[:, ::2].clamp_(min=0)
    h[:, 1:3] += 0.5
    return self.conv2(h)


def _slice_inplace_plain(self, h, x):
    parts = [self.relu(h[:, i : i + 1]) if i % 2 == 0 else h[:, i : i + 1] for i in range(6)]
    parts[1], parts[2] = parts[1] + 0.5, parts[2] + 0.5
    return self.conv2(torch.cat(parts, 1))


def _setitem(self, h, x):
    h[:, 2:4] = F.relu(h[:, :2])
    h[:, 5] = h[:, 0] * 2.0
    return self.conv2(h)


def _setitem_plain(self, h, x):
    return self.conv2(torch.cat([h[:, :2], self.relu(h[:, :2]), h[:, 4:5], h[:, :1] * 2.0], 1))


def _view_inplace(self, h, x):
    flat = h.view(h.size(0), -1)
    flat.relu_()
    return self.conv2(h)


def _view_inplace_plain(self, h, x):
    return self.conv2(self.relu(h))


def _transpose_inplace(self, h, x):
    h.transpose(1, 3)[:, :3].relu_()
    return self.conv2(h)


def _transpose_inplace_plain(self, h, x):
    return self.conv2(torch.cat([self.relu(h[..., :3]), h[..., 3:]], 3))


def _same_name(self, h, x):
    y = h
    z = y.relu_()
    return h + 2.0 * z + self.conv2(y)


def _same_name_plain(self, h, x):
    h = self.relu(h)
    return 3.0 * h + self.conv2(h)


def _copy_first(self, h, x):
    kept = h.clone()
    h.relu_()
    return self.conv2(h) - kept


def _copy_first_plain(self, h, x):
    return self.conv2(self.relu(h)) - h


def _read_before(self, h, x):
    before = self.conv2(h)
    h.relu_()
    return before + h


def _read_before_plain(self, h, x):
    return self.conv2(h) + self.relu(h)


def _residual_iadd(self, h, x):
    identity = F.relu(h)
    out = self.conv2(identity)
    out += identity
    return F.relu(out) * 0.5 + identity


def _residual_iadd_plain(self, h, x):
    identity = self.relu(h)
    return self.relu(self.conv2(identity) + identity) * 0.5 + identity


def _identity_iadd(self, h, x):
    identity = F.relu(h)
    out = self.conv2(identity)
    identity += out
    return F.relu(identity) - self.conv2(identity)


def _identity_iadd_plain(self, h, x):
    identity = self.relu(h)
    total = identity + self.conv2(identity)
    return self.relu(total) - self.conv2(total)


def _arithmetic(self, h, x):
    h.mul_(0.5).add_(0.25).sub_(x.mean(1, keepdim=True))
    h.div_(2.0).neg_()
    return self.conv2(h.relu_())


def _arithmetic_plain(self, h, x):
    h = -((h * 0.5 + 0.25 - x.mean(1, keepdim=True)) / 2.0)
    return self.conv2(self.relu(h))


def _add_relu_in_place(self, h, x):
    out = self.conv2(h)
    out.add_(h, alpha=0.5)
    out = F.relu(out, inplace=True)
    F.dropout(out, 0.5, training=self.training, inplace=True)
    return out


def _add_relu_in_place_plain(self, h, x):
    return self.relu(self.conv2(h) + 0.5 * h)


def _copy_into(self, h, x):
    out = torch.zeros_like(h)
    out[:, :3].copy_(h[:, 3:])
    out[:, 3:] = F.relu(h[:, :3])
    return self.conv2(out)


def _copy_into_plain(self, h, x):
    return self.conv2(torch.cat([h[:, 3:], self.relu(h[:, :3])], 1))


def _input_written(self, h, x):
    x.relu_()
    return self.conv2(self.conv(x)) + h


def _input_written_plain(self, h, x):
    return self.conv2(self.conv(self.relu(x))) + h


def _detached_alias(self, h, x):
    gate = h.detach()
    h = F.relu(h)
    return self.conv2(h) * gate.abs()


def _detached_alias_plain(self, h, x):
    return self.conv2(self.relu(h)) * h.detach().abs()


_pair("inplace_live_view", "a view made before relu_ sees its result", _live_view, _live_view_plain, 8)
_pair(
    "inplace_module_live_view",
    "an in-place module whose return value is dropped",
    _live_view_module,
    _live_view_module_plain,
    kit=INPLACE_MODULES,
)
# "no_autograd": autograd forbids writing into one of several views or into what a convolution has saved; inference,
# and hence the explanation, allows it.
_pair("inplace_chunk", "relu_ on one chunk", _chunk_inplace, _chunk_inplace_plain, tags="no_autograd")
_pair("inplace_split", "uneven pieces of a copy", _split_inplace, _split_inplace_plain, 9, tags="no_autograd")
_pair("inplace_slice", "clamp_ on a strided slice, += on another", _slice_inplace, _slice_inplace_plain)
_pair("inplace_setitem", "assignment to slices", _setitem, _setitem_plain)
_pair("inplace_view", "relu_ through a reshape", _view_inplace, _view_inplace_plain)
_pair("inplace_transpose", "relu_ through a slice of a transpose", _transpose_inplace, _transpose_inplace_plain)
_pair("inplace_same_name", "two names of one tensor", _same_name, _same_name_plain)
_pair("inplace_after_clone", "a copy taken before keeps the old values", _copy_first, _copy_first_plain)
_pair(
    "inplace_after_read",
    "a reader before relu_ saw the old values",
    _read_before,
    _read_before_plain,
    tags="no_autograd",
)
_pair("residual_iadd", "`out += identity`, identity used again", _residual_iadd, _residual_iadd_plain)
_pair(
    "residual_identity_iadd",
    "`identity += out` after a conv has read it",
    _identity_iadd,
    _identity_iadd_plain,
    tags="no_autograd",
)
_pair("inplace_arithmetic", "mul_, add_, sub_, div_, neg_ in a row", _arithmetic, _arithmetic_plain)
_pair("inplace_add_relu_dropout", "add_ with alpha, relu_, dropout_", _add_relu_in_place, _add_relu_in_place_plain)
_pair("inplace_copy", "an empty tensor filled by copy_ and assignment", _copy_into, _copy_into_plain)
_pair("inplace_on_input", "a write into the model's input", _input_written, _input_written_plain, tags="no_autograd")
_pair("detached_alias", "a detached factor has no gradient", _detached_alias, _detached_alias_plain)
