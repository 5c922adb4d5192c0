"""The gradient family: one forward pass, one reverse walk, one rule for the ReLUs."""

from __future__ import annotations

from reluxfast.methods.run import Outcome, Run


def gradient(run: Run) -> Outcome:
    """Gradient of the explained output with respect to the input, with its sign.

    At a ReLU the signal passes where the pre-activation is positive, g·1[z > 0]; at exactly 0 it does not (Simonyan
    et al. 2014, arXiv 1312.6034).
    """
    return _walked(run, "gradient")


def input_x_gradient(run: Run) -> Outcome:
    """Input times gradient, element by element (Shrikumar et al. 2016, arXiv 1605.01713)."""
    outcome = _walked(run, "gradient")
    outcome.values = [run.over_classes(x) * g for x, g in zip(run.inputs, outcome.values, strict=True)]
    return outcome


def guided_backprop(run: Run) -> Outcome:
    """Guided backpropagation: at a ReLU g·1[z > 0]·1[g > 0] (Springenberg et al. 2015, arXiv 1412.6806).

    Holds for every spelling of a ReLU, and for ReLU6; all else is the plain gradient.
    """
    return _walked(run, "guided_backprop")


def deconvnet(run: Run) -> Outcome:
    """Deconvnet: at a ReLU g·1[g > 0], whatever the forward pass was; max-pool switches are kept
    (Zeiler & Fergus 2014, arXiv 1311.2901)."""
    return _walked(run, "deconvnet")


def _walked(run: Run, rule: str) -> Outcome:
    walked = run.walk(rule, progress=rule)
    return Outcome(run.input_signals(walked), walked.output)
