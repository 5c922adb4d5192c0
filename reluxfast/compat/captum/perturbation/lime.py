"""Lime."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from reluxfast.coalitions.masks import values_each
from reluxfast.compat.captum.bases import Explains, PerturbationAttribution, exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import OutOfRange, Refused
from reluxfast.compat.captum.perturbation.asked import Asked, ask
from reluxfast.compat.captum.perturbation.baselines import one_for_each
from reluxfast.compat.captum.perturbation.features import Features, given_features
from reluxfast.compat.captum.perturbation.linear import Lasso
from reluxfast.compat.captum.perturbation.samples import Drawing, Samples, half_of_features
from reluxfast.compat.captum.perturbation.similarity import get_exp_kernel_similarity_function
from reluxfast.methods.numbers import positive
from reluxfast.progress import progress_bar

# A model that is fitted is the object's own, and there may be several threads.
_fits = threading.Lock()


class Lime(Explains, PerturbationAttribution):
    """Weights of a simple model fitted to outputs of perturbed examples (Ribeiro et al. 2016, arXiv 1602.04938).

    Under the same `torch.manual_seed` samples are Captum's. All of them are evaluated together.

    Args:
        forward_func: a module (as in eval mode), or any function of tensors. It returns one number for each example, or
            one for the batch, which is then explained as a whole.
        interpretable_model: with `fit(loader)`, whose batches are samples, outputs and weights, and `representation()`;
            default: scikit-learn's Lasso(alpha=0.01).
        similarity_func: weight of a sample, called with the example, the perturbed one and the sample; default: by
            their cosine.
        perturb_func: of an example, a binary sample (1, n), or a generator of samples; default: every feature is
            present with probability one half.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        interpretable_model: Any = None,
        similarity_func: Callable[..., Any] | None = None,
        perturb_func: Callable[..., Any] | None = None,
    ) -> None:
        PerturbationAttribution.__init__(self, forward_func)
        self.interpretable_model = Lasso(0.01) if interpretable_model is None else interpretable_model
        self.similarity_func = similarity_func or get_exp_kernel_similarity_function()
        self.perturb_func = perturb_func or half_of_features

    @property
    def multiplies_by_inputs(self) -> bool:
        return False

    @exposed
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Any:
        """Weights of features, float64 where an input is (Captum: float32), else float32.

        Args:
            inputs: Tensor (N, ...) of any dtype, or a tuple of them.
            baselines: None (zeros), numbers, or Tensors that broadcast to the inputs; a tuple for several inputs.
            target: one output of each example, as in Captum.
            additional_forward_args: further arguments; a Tensor with N rows goes along with the examples.
            feature_mask: integers that broadcast to the inputs and name the feature of each element, across inputs;
                they are moved so that the least is 0.
            n_samples: samples of each example.
            perturbations_per_eval: above 1: a call may have at least so many times N rows. Values do not depend on it.
            return_input_shape: whether values are like the inputs, (1, ...) for a batch explained as a whole; False:
                (N, n) or (1, n), the weight of each feature.
            show_progress: whether a bar is drawn.

        Raises:
            AssertionError, IndexError, InvalidInput: an argument breaks a rule.
            MissingExtra: the default model needs scikit-learn.
            ReluxfastError: outputs are not finite.
        """
        call = Call.of(inputs, target, additional_forward_args)
        features = given_features(feature_mask, call.inputs).from_zero()
        drawing = Drawing(self.perturb_func, self.similarity_func, n_samples, {})
        asked = ask(self.forward_func, call, baselines, perturbations_per_eval, show_progress)
        return self._fitted(asked, baselines, features, drawing, return_input_shape)

    def _fitted(
        self, asked: Asked, baselines: Any, features: Features, drawing: Drawing, return_input_shape: bool
    ) -> Any:
        positive("n_samples", drawing.count, needed=True)
        if asked.explained.shape[1] != 1:
            rule = "must return one number for each example, or one for the batch, once a target is chosen"
            raise Refused("forward_func", rule, f"outputs of shape {asked.shape}", "Pass a target")
        if not asked.call.rows:
            raise OutOfRange("inputs", "must hold at least one example to fit a model to", 0)
        asked.check_masks(features)
        call, baselines = asked.call, one_for_each(baselines, asked.call.inputs)
        if asked.rows.whole:
            drawn = [drawing.of_batch(call, baselines, features)]
        else:
            drawn = drawing.of_examples(call, baselines, features)
        outputs = _outputs(asked, features, drawn)
        dtype, weights = asked.float_dtype, []
        bar = progress_bar(total=len(drawn), desc=self.get_name(), unit="example", show=asked.show_progress)
        with bar:
            for samples, values in zip(drawn, outputs, strict=True):
                weights.append(self._weights(samples, values, dtype))
                bar.update(1)
        found = torch.cat(weights).to(asked.rows.x.device, dtype)
        if not return_input_shape:
            return found
        parts = [found.gather(1, ids.to(found.device).expand(len(found), -1)).unsqueeze(1) for ids in features.ids]
        return asked.laid_out(tuple(parts), dtype)

    def _weights(self, samples: Samples, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(1, n) of one example."""
        listed = [t.to(dtype) for t in (samples.present, values.cpu(), samples.weights)]
        with _fits:
            self.interpretable_model.fit(DataLoader(TensorDataset(*listed), batch_size=len(values)))
            return self.interpretable_model.representation().detach().reshape(1, -1).clone()


def _outputs(asked: Asked, features: Features, drawn: list[Samples]) -> list[torch.Tensor]:
    """The explained outputs (S,) of the samples of each example."""
    found: list[Any] = [None] * len(drawn)
    for some, ids in features.groups(len(drawn)):
        players, listed = asked.players(ids)
        counts = torch.tensor([len(drawn[r].present) for r in some.tolist()], device="cpu")
        rows = torch.arange(len(some), device="cpu").repeat_interleave(counts)
        present = torch.cat([drawn[r].present for r in some.tolist()]).bool()[:, listed]
        game = asked.request(players, some).game(int(counts.max()))
        values = values_each(game, rows, present).squeeze(1)
        parts = values.split(counts.tolist())
        for r, part in zip(some.tolist(), parts, strict=True):
            found[r] = part
    return found
