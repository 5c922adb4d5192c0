"""Names, signatures, and what the package is imported without."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import reluxfast.compat.zennit as ours
from tests import peers
from tests.compat.zennit.pair import theirs

MODULES = ("attribution", "canonizers", "composites", "rules", "types", "layer", "core", "image", "torchvision")
# Arguments that Zennit 0.5 has and 1.0 has not.
GONE = {"BetaSmooth": ["zero_params"]}


def test_imports_need_no_peer():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('zennit', 'torchvision', 'PIL')));"
        "from reluxfast.compat.zennit import Gradient, EpsilonPlusFlat, SequentialMergeBatchNorm;"
        + "".join(f"import reluxfast.compat.zennit.{m};" for m in MODULES)
        + "from reluxfast.compat.zennit.torchvision import VGGCanonizer;"
        "from reluxfast.extras import MissingExtra\n"
        "try: reluxfast.compat.zennit.imgify([[1.0, 2.0]])\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "reluxfast[images]" in done.stdout


def test_all_names_are_there():
    assert all(hasattr(ours, name) for name in ours.__all__)
    for module in (peers.attribution, peers.composites, peers.canonizers, peers.types, peers.rules, peers.layer):
        ours_module = sys.modules[module.__name__.replace("zennit", "reluxfast.compat.zennit", 1)]
        helpers = {"SubclassMeta", "MergeBatchNorm", "ClampMod", "GammaMod", "NoMod"}
        classes = {n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__}
        assert classes - helpers <= set(vars(ours_module)) and (classes - helpers <= set(dir(ours)))


@pytest.mark.parametrize("name", sorted(set(ours.__all__) & set(vars(theirs)) - {"COMPOSITES"}))
def test_signatures(name):
    """Same arguments in the same order with the same defaults; ours may know more behind them."""
    try:
        expected = inspect.signature(getattr(theirs, name)).parameters
        found = inspect.signature(getattr(ours, name)).parameters
    except ValueError:
        assert isinstance(getattr(theirs, name), type(peers.types.Linear))
        return
    expected = {n: p for n, p in expected.items() if n not in GONE.get(name, ())}
    assert list(found)[: len(expected)] == list(expected)
    assert [found[n].default for n in expected] == [p.default for p in expected.values()]
