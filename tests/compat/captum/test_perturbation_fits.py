"""KernelShap and Lime: how exact their fits are, models, similarities and samples of the user's own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from reluxfast.compat.captum import perturbation as ours
from reluxfast.compat.captum.perturbation.linear import Lasso, LeastSquares
from reluxfast.errors import InvalidInput
from reluxfast.extras import MissingExtra
from tests.compat.captum.models import case
from tests.compat.captum.parity import agree, attr, quietly
from tests.compat.captum.perturbed import same
from tests.support import assert_close, relative_error

linear_model = pytest.importorskip("captum._utils.models.linear_model")
lime = pytest.importorskip("captum.attr._core.lime")


class Kept:
    """A model that keeps what it was fitted to."""

    def __init__(self, model):
        self.model, self.data = model, []

    def fit(self, loader, **options):
        self.data.append(tuple(t.clone() for t in loader.dataset.tensors))
        return self.model.fit(loader, **options)

    def representation(self):
        return self.model.representation()


def fitted(kind, x, **options):
    """Values, and what each example's model was fitted to."""
    model, _ = case("two_inputs")
    method = kind(model)
    method.interpretable_model = kept = Kept(method.interpretable_model)
    torch.manual_seed(3)
    return quietly(lambda: method.attribute(x, target=1, return_input_shape=False, **options)), kept.data


def test_many_features():
    """65 of them: the solution in float64, which Captum's float32 fit misses by parts in a thousand."""
    _, x = case("two_inputs")
    found, data = fitted(ours.KernelShap, x, n_samples=300)
    theirs, same_data = fitted(attr.KernelShap, x, n_samples=300)
    for row, (z, y, w) in enumerate(data):
        assert torch.equal(z, same_data[row][0]) and torch.equal(w, same_data[row][2].view_as(w))
        assert_close(y, same_data[row][1], 1e-5)
        z, y, w = (t.double().numpy() for t in (z, y, w))
        z = np.concatenate([z, np.ones((len(z), 1))], 1)
        exact = torch.from_numpy(np.linalg.solve((z.T * w) @ z, (z.T * w) @ y)[:-1])
        assert_close(found[row].double(), exact, 1e-6)
        assert 1e-4 < relative_error(theirs[row].double(), exact) < 1e-2


def test_fewer_samples_than_features():
    """The least weights that fit all of them."""
    _, x = case("two_inputs")
    found, data = fitted(ours.KernelShap, x, n_samples=25)
    theirs, _ = fitted(attr.KernelShap, x, n_samples=25)
    agree(found, theirs)
    for row, (z, y, _) in enumerate(data):
        z, y = z.double(), y.double()
        assert_close(found[row].double(), torch.linalg.pinv(z - z[0], rtol=1e-9) @ (y - y[0]), 1e-6)


def test_kernel_shap_comes_to_shapley_values():
    model, (x,) = case("mlp", dtype=torch.float64)
    torch.manual_seed(0)
    found = ours.KernelShap(model).attribute(x[:1], target=2, n_samples=10000)
    assert_close(found, ours.ShapleyValues(model).attribute(x[:1], target=2), 0.03)


def test_a_single_feature():
    model, (x,) = case("mlp")
    found = ours.KernelShap(model).attribute(x, target=1, feature_mask=torch.zeros(1, 7, dtype=torch.int64))
    gain = (model(x) - model(torch.zeros_like(x)))[:, 1].detach()
    assert_close(found, gain[:, None].expand(-1, 7), 1e-5)


@pytest.mark.parametrize("name", ["SkLearnLasso", "SkLearnRidge", "SkLearnLinearRegression"])
def test_models_of_captum(name):
    model, (x,) = case("mlp")
    options = {"alpha": 0.02} if name != "SkLearnLinearRegression" else {}
    made = [getattr(linear_model, name)(**options) for _ in range(2)]
    found = []
    for kind, surrogate in zip((ours.Lime, attr.Lime), made, strict=True):
        torch.manual_seed(3)
        found.append(quietly(lambda k=kind, s=surrogate: k(model, s).attribute(x, target=[1, 0, 2], n_samples=60)))
    agree(*found)


@pytest.mark.parametrize(("mode", "width"), [("cosine", 1.0), ("cosine", 0.3), ("euclidean", 2.0)])
def test_similarities(mode, width):
    model, x = case("two_inputs")
    of_captum = lime.get_exp_kernel_similarity_function(mode, width)
    own = ours.get_exp_kernel_similarity_function(mode, width)
    other = tuple(t * (torch.arange(t[0].numel()).view(t[0].shape) % 2) for t in x)
    for one, changed in ((x, other), (x[0], other[0])):
        assert own(one, changed, None) == pytest.approx(of_captum(one, changed, None), rel=1e-5)
    masks = (torch.zeros(1, 2, 6, 5, dtype=torch.int64), torch.arange(1, 6)[None])
    found = []
    for kind, similarity in ((ours.Lime, own), (ours.Lime, of_captum), (attr.Lime, of_captum)):
        torch.manual_seed(3)
        method = kind(model, similarity_func=similarity)
        found.append(quietly(lambda m=method: m.attribute(x, target=1, feature_mask=masks, n_samples=50)))
    agree(found[0], found[2])
    agree(found[1], found[2])
    with pytest.raises(ValueError, match="distance_mode must be 'cosine' or 'euclidean', got 'manhattan'"):
        ours.get_exp_kernel_similarity_function("manhattan")


def one_absent(original: Tensor, **given) -> Tensor:
    sample = torch.ones(1, given["num_interp_features"])
    sample[0, torch.randint(given["num_interp_features"], (1,))] = 0
    return sample


def each_absent(original: Tensor, **given):
    for i in range(given["num_interp_features"]):
        sample = torch.ones(1, given["num_interp_features"])
        sample[0, i] = 0
        yield sample


def checked_similarity(original: Tensor, perturbed: Tensor, sample: Tensor, **given) -> Tensor:
    """What it is given, told by a weight."""
    mask, baselines = given["feature_mask"], given["baselines"]
    start = baselines if isinstance(baselines, Tensor) else torch.full_like(original, baselines)
    expected = torch.where(sample[0][mask].bool(), original, start)
    assert torch.equal(perturbed, expected) and original.shape[0] == 1
    return 1 + sample.sum() / 10


@pytest.mark.parametrize("perturb", [one_absent, each_absent])
@pytest.mark.parametrize("baselines", [0.5, "each row"])
def test_samples_of_the_user(perturb, baselines):
    model, (x,) = case("mlp")
    start = x.flip(0) if baselines == "each row" else baselines
    mask = torch.tensor([[0, 0, 1, 2, 2, 3, 1]])
    count = 30 if perturb is one_absent else 4
    found = []
    for kind in (ours.Lime, attr.Lime):
        torch.manual_seed(3)
        method = kind(model, linear_model.SkLearnRidge(alpha=0.1), checked_similarity, perturb)
        options = {"baselines": start, "feature_mask": mask, "n_samples": count, "target": [1, 0, 2]}
        found.append(quietly(lambda m=method, o=options: m.attribute(x, **o)))
    agree(*found)


def test_samples_that_end_early_or_do_not_fit():
    model, (x,) = case("mlp")
    method = ours.Lime(model, LeastSquares(), perturb_func=each_absent)
    with pytest.warns(UserWarning, match="perturb_func gave 7 of 25 samples"):
        method.attribute(x[:1], target=1)
    wrong = ours.Lime(model, perturb_func=lambda original, **given: torch.ones(1, 3))
    with pytest.raises(AssertionError, match=r"perturb_func must return Tensors \(1, 7\), got \(1, 3\)"):
        wrong.attribute(x, target=1)
    for kind in (ours.Lime, ours.KernelShap, ours.ShapleyValueSampling):
        with pytest.raises(InvalidInput, match="n_samples must be"):
            kind(model).attribute(x, target=1, n_samples=0)


def test_kernel_shap_needs_no_scikit_learn(monkeypatch):
    model, (x,) = case("mlp")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    assert ours.KernelShap(model).attribute(x, target=1).isfinite().all()
    with pytest.raises(MissingExtra, match="scikit-learn"):
        ours.Lime(model).attribute(x, target=1)


def test_the_model_that_was_fitted_is_there():
    model, (x,) = case("mlp")
    for kind, surrogate in ((ours.KernelShap, LeastSquares), (ours.Lime, Lasso)):
        method = kind(model)
        values = method.attribute(x[:1], target=1, return_input_shape=False)
        assert isinstance(method.interpretable_model, surrogate)
        assert torch.equal(method.interpretable_model.representation(), values)
        assert method.interpretable_model.bias().shape == (1,)


def test_several_rows_of_several_inputs():
    model, x = case("two_inputs", 4)
    masks = (torch.zeros(4, 2, 6, 5, dtype=torch.int64), torch.tensor([[1, 2, 2, 3, 0]]))
    masks[0][1], masks[0][3, :, 2:] = 1, 4
    same(ours.Lime, model, x, target=[0, 1, 2, 3], feature_mask=(masks[0], masks[1].expand(4, -1)))
