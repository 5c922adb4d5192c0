"""Why does a small network see a cat? Ten lines on a real photo; writes quickstart.png.

Needs: pip install 'reluxfast[demo]'
"""

import torch

import reluxfast as rx
from reluxfast.demo import data
from reluxfast.demo.models import PhotoNet
from reluxfast.demo.train import train

torch.manual_seed(0)
split = data.photo_crops()
model = PhotoNet(len(split.classes))
print(f"held-out accuracy {train(model, split, epochs=6, jitter=0.1):.2f}")

cat = data.held_out_windows()[1:2]  # (1, 3, 96, 96), a part of the photo that was never trained on
target = split.classes.index("chelsea")
result = rx.attribute(model, cat, target=target, method="grad_cam", layer="block3")
print(f"logit {result.output[0, target]:.2f}, map {tuple(result.values.shape)}")
figure, axes = result.plot(images=cat, classes=split.classes)
figure.savefig("quickstart.png", dpi=150)
