"""Explain a network that left Python: an exported program, with no model code at hand; writes exported.png.

The same from the shell: reluxfast explain digits.pt2 digit.npy --method integrated_gradients
Needs: pip install 'reluxfast[demo]'
"""

import torch

import reluxfast as rx
from reluxfast.demo import data
from reluxfast.demo.models import DigitsNet
from reluxfast.demo.train import train
from reluxfast.program_file import load_program

torch.manual_seed(0)
split = data.digits()
model = DigitsNet()
print(f"held-out accuracy {train(model, split, epochs=8):.2f}")

x, y = split.test_x[:6], split.test_y[:6]
batch = torch.export.Dim("batch", min=1)
torch.export.save(torch.export.export(model, (x,), dynamic_shapes=({0: batch},)), "digits.pt2")

program = load_program("digits.pt2")  # never unpickles, unlike torch.export.load
result = rx.attribute(program, x, y, "integrated_gradients")
same = rx.attribute(model, x, y, "integrated_gradients")
print(f"file against module, largest difference: {(result.values - same.values).abs().max():.1e}")
gap = result.values.flatten(1).sum(1) - (result.output.gather(1, y[:, None])[:, 0] - result.base_value)
print(f"sum of values minus (logit - logit at black), worst of six: {gap.abs().max():.3f}")
figure, axes = result.plot(images=x)
figure.savefig("exported.png", dpi=150)
