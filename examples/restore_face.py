"""Restores a picture of an aligned face at three qualities and shows the results side by side.

python examples/restore_face.py face.png restored.png
"""

import sys

import torch
from torchvision.utils import save_image

from iqp_adapter import IQPFR
from iqp_adapter.pictures import read_tensor

model = IQPFR.from_pretrained("tiny")
lq = read_tensor(sys.argv[1])[None]  # (1, 3, H, W)
dial = [model.restore(lq, quality=quality) for quality in (0.1, 0.5, "best")]
save_image(torch.cat([lq, *dial]), sys.argv[2])
