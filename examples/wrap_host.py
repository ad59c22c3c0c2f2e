"""Restores a face by an existing restorer at several qualities.

    python examples/wrap_host.py HOST FACE.png OUT.png [ADAPTER]

HOST is a weight file (codeformer.pth, GFPGANv1.4.pth, RestoreFormer.pth, ...) or a name that `iqp fetch --list` shows.
FACE.png shows one aligned face. Without an adapter all restorations equal that of the bare host.
"""

import sys

from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

import iqp_adapter as iqp
from iqp_adapter.pictures import read_tensor

host, face, out, *adapter = sys.argv[1:]
model = iqp.wrap(host, adapter=adapter[0] if adapter else None)
lq = read_tensor(face)[None]  # (1, 3, H, W)

pictures = [lq[0], *(model.restore(lq, quality=quality)[0] for quality in (None, 0.1, 0.5, "best"))]
to_pil_image(make_grid(pictures, nrow=len(pictures))).save(out)
