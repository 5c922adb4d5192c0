"""Where Captum is not installed everything works but what needs its objects."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys

class NoCaptum:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "captum":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoCaptum())

import torch
from torch import nn
from reluxfast.compat import captum as rc
from reluxfast.compat.captum import lrp_rules

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
x = torch.randn(2, 1, 4, 4)
for kind in (rc.Saliency, rc.InputXGradient, rc.GuidedBackprop, rc.Deconvolution, rc.IntegratedGradients, rc.LRP,
             rc.DeepLift, rc.FeatureAblation, rc.ShapleyValueSampling, rc.KernelShap):
    assert kind(model).attribute(x, target=1).shape == x.shape, kind
assert rc.LayerGradCam(model, model[0]).attribute(x, 1).shape == (2, 1, 2, 2)
assert rc.LayerActivation(model, [model[0], model[1]]).attribute(x)[1].min() == 0
assert rc.NeuronGradient(model, model[3]).attribute(x, 2).shape == x.shape
assert rc.NoiseTunnel(rc.Saliency(model)).attribute(x, target=1).shape == x.shape
assert rc.LayerAttribution.interpolate(torch.ones(1, 1, 2, 2), (4, 4)).shape == (1, 1, 4, 4)
assert rc.GuidedBackprop.get_name() == "Guided Backprop" and isinstance(rc.LRP(model), rc.GradientAttribution)
assert rc.Saliency(model).gradient_func(model, x, 1)[0].shape == x.shape
model[0].rule = lrp_rules.GammaRule()
assert rc.LRP(model).attribute(x, 1).shape == x.shape
try:
    rc.patch()
except ImportError as error:
    assert "captum" in str(error)
else:
    raise AssertionError("patch without Captum")
try:
    rc.visualization
except ImportError as error:
    assert "captum.attr.visualization" in str(error)
assert "captum" not in sys.modules
print("right")
"""


def test_without_captum():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout == "right\n", done.stderr
