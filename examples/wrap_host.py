"""Restores a face by an existing restorer: degraded, by the bare host, and at three qualities, side by side.

    python examples/wrap_host.py OUT.png
    python examples/wrap_host.py OUT.png FACE.png HOST [ADAPTER]

The first command takes the small RestoreFormer and the adapter that are in examples/restoreformer. FACE.png shows one
aligned face. HOST is a weight file (codeformer.pth, GFPGANv1.4.pth, RestoreFormer.pth, ...) or a name that
`iqp fetch --list` shows. Without an adapter all restorations equal that of the bare host.
"""

import sys
from pathlib import Path

from PIL import Image
from torchvision.transforms.functional import to_pil_image, to_tensor
from torchvision.utils import make_grid

import iqp_adapter as iqp
from iqp_adapter.photo import restore_photo

SHIPPED = Path(__file__).parent / "restoreformer"

out, *given = sys.argv[1:]
path, host, *adapter = given or [SHIPPED / "face.png", SHIPPED / "host.safetensors", SHIPPED / "adapter"]
model = iqp.wrap(str(host), adapter=adapter[0] if adapter else None)
face = Image.open(path).convert("RGB")

dial = [restore_photo(face, model, quality=quality, aligned=True) for quality in (None, 0.1, 0.5, "best")]
pictures = [to_tensor(picture) for picture in (face, *dial)]  # (3, H, W) each
to_pil_image(make_grid(pictures, nrow=len(pictures))).save(out)
