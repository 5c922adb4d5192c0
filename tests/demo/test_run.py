"""The demo from end to end, in its quick form."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import reluxfast as rx
from reluxfast import rules
from reluxfast.composites import by_kind, composite
from reluxfast.demo import data, picture, run_demo
from reluxfast.demo.models import DigitsNet, PhotoNet
from reluxfast.demo.run import Trained, table


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    lines: list[str] = []
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    result = run_demo(tmp_path_factory.mktemp("demo") / "new folder", quick=True, progress=False, echo=lines.append)
    assert torch.get_num_threads() == threads, "the number of threads is given back"
    assert torch.equal(torch.get_rng_state(), state), "the user's random state is untouched"
    return result, "\n".join(lines)


def test_what_is_being_done_is_said_before_it_is_done(demo):
    lines = demo[1].splitlines()
    assert lines[0].startswith("training on ") and "held-out accuracy" in lines[1]
    assert lines[3].startswith(f"explaining with {len(rx.methods('relevance'))} methods")


def test_every_method_is_explained_validated_and_timed_on_both_networks(demo):
    result, text = demo
    assert [(row.model, row.method) for row in result.rows] == [
        (m, n) for m in ("digits", "photos") for n in rx.methods("relevance")
    ]
    for row in result.rows:
        assert row.ok and 0 <= row.worst_relative_error <= row.tolerance == 1e-5
        assert row.ms_per_image > 0
        assert "reference" in row.backend
        assert sum(line.startswith(row.method + " ") for line in text.splitlines()) == 2


def test_the_checks_hold(demo):
    result, text = demo
    assert result.ok
    assert {check.name.split(": ")[1] for check in result.checks} == {
        "held-out accuracy",
        "integrated gradients, completeness gap",
        "input x gradient against its definition",
        "guided backprop against gradient",
        "Grad-CAM in the right cell of a 2x2 mosaic",
        "Shapley values, gap to the output",
        "Shapley values within two standard errors of a run 20 times as long",
    }
    for check in result.checks:
        assert check.ok == (check.value >= check.bound if check.at_least else check.value <= check.bound)
        assert str(check) in text
        assert "FAILED" in str(replace(check, ok=False))


@pytest.mark.parametrize(("name", "columns"), [("gallery", 9), ("composites", 6)])
def test_pictures_have_colour_in_every_column(demo, name, columns):
    path = getattr(demo[0], name)
    assert path.name == f"{name}.png"
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width, _ = picture.shape
    assert width > 1000 and 400 < height < width
    coloured = np.abs(picture[..., 0] - picture[..., 2]) > 30
    right = coloured[:, width // 10 :]
    shares = [part.mean() for part in np.array_split(right, columns, axis=1)]
    assert min(shares) > 0.01


@pytest.fixture
def untrained():
    return [Trained("digits", DigitsNet().eval(), "joined", data.digits(0), 1.0),
            Trained("photos", PhotoNet().eval(), "block3", data.photo_crops(0, 4, 4), 1.0)]  # fmt: skip


@pytest.fixture
def shown(monkeypatch):
    """The sections that are drawn, and the options they are drawn with."""
    seen = {}
    plot = picture.plot_gallery

    def drawn(sections, **options):
        seen.update(sections=sections, **options)
        return plot(sections, **options)

    monkeypatch.setattr(picture, "plot_gallery", drawn)
    return seen


def test_the_gallery_explains_what_the_networks_say(tmp_path, untrained, shown):
    trained = untrained
    picture.write_gallery(tmp_path / "gallery.png", trained)
    for section, model in zip(shown["sections"], (trained[1].model, trained[1].model, trained[0].model), strict=True):
        said = model(section.images).argmax(1).tolist()
        targets = section.attributions[0].target
        assert targets == ([said[0], 1] if section.row_names[0] == "four photos" else said)
        assert len(section.classes) == model(section.images).shape[1]
    assert (tmp_path / "gallery.png").exists()


def test_composites_are_those_that_their_columns_name(tmp_path, untrained, shown):
    picture.write_composites(tmp_path / "composites.png", untrained)
    assert (tmp_path / "composites.png").exists()
    digits, photos = (t.model for t in untrained)
    asked = ((photos, -0.5, 0.5), (photos, -0.5, 0.5), (digits, 0.0, 1.0))
    for section, (model, low, high) in zip(shown["sections"], asked, strict=True):
        x, columns = section.images, dict(zip(shown["columns"], section.attributions, strict=True))
        everywhere = by_kind(rules.Gamma(0.25), rules.Gamma(0.25))
        expected = {
            "epsilon": "epsilon",
            "gamma everywhere": everywhere,
            "epsilon plus": "epsilon_plus",
            "epsilon plus flat": "epsilon_plus_flat",
            "epsilon gamma box": composite("epsilon_gamma_box", low=low, high=high),
            "epsilon alpha2 beta1": "epsilon_alpha2_beta1",
        }
        assert list(columns) == list(expected)
        for name, chosen in expected.items():
            found = columns[name]
            again = rx.attribute(model, x, found.target, "lrp", composite=chosen)
            assert found.method == "lrp" and torch.equal(found.values, again.values), name


def test_the_box_is_what_the_first_convolution_sees(untrained):
    """Pixels lie in [0, 1]; the bounds are where the darkest and the brightest arrive."""
    for t, layer in zip(untrained, ("stem", "block1"), strict=True):
        seen = []
        model = copy.deepcopy(t.model)
        getattr(model, layer).register_forward_pre_hook(lambda _module, inputs, seen=seen: seen.append(inputs[0]))
        x = torch.zeros(2, *t.split.test_x.shape[1:])
        x[1] = 1.0
        model(x)
        assert (seen[0].min().item(), seen[0].max().item()) == picture.BOX[t.name]


def test_the_record_says_what_was_found(demo):
    result, _ = demo
    record = json.loads(result.record.read_text())
    assert record["versions"]["torch"] == torch.__version__
    assert record["info"]["version"] == rx.__version__
    assert record["quick"] is True and record["seed"] == 0 and record["ok"] is True
    assert len(record["rows"]) == 2 * len(rx.methods("relevance"))
    assert record["rows"][0]["worst_relative_error"] == result.rows[0].worst_relative_error
    assert record["accuracy"] == result.accuracy
    assert record["gallery"] == "gallery.png" and record["composites"] == "composites.png"
    assert record["shapley"] == ["beeswarm.png", "waterfall.png", "superpixels.png"]
    for path in (result.gallery, result.composites, *result.shapley):
        assert min(Image.open(path).size) > 400, path
    assert any("completeness" in check["name"] for check in record["checks"])


def test_a_deviation_is_shown_as_failed(demo):
    broken = [replace(demo[0].rows[0], worst_relative_error=0.3, ok=False)]
    assert table(broken).splitlines()[1].endswith("FAILED")
    assert "3.0e-01" in table(broken)
