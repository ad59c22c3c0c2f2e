"""Restores a picture of an aligned face at three qualities and shows the results side by side.

python examples/restore_face.py face.png restored.png
"""

import sys

import torch
from torchvision.io import ImageReadMode, decode_image
from torchvision.utils import save_image

from iqp_adapter import IQPFR

model = IQPFR.from_pretrained("tiny")
lq = decode_image(sys.argv[1], ImageReadMode.RGB)[None] / 255  # (1, 3, H, W)
dial = [model.restore(lq, quality=quality) for quality in (0.1, 0.5, "best")]
save_image(torch.cat([lq, *dial]), sys.argv[2])
