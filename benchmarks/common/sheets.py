"""Pictures side by side, with a caption above each column."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from iqp_adapter.pictures import as_pixels
from iqp_adapter.store.files import atomic_path

GAP = 4


def write_sheet(path: Path, columns: dict[str, Tensor]) -> None:
    """Saves columns of pictures (N, 3, R, R) in [0, 1] by caption, as one PNG."""
    rows, side = len(next(iter(columns.values()))), next(iter(columns.values())).shape[-1]
    font = ImageFont.load_default(size=max(10, side // 14))
    head = 2 * max(10, side // 14)
    step = side + GAP
    sheet = Image.new("RGB", (len(columns) * step - GAP, head + rows * step - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (caption, images) in enumerate(columns.items()):
        draw.text((column * step + side // 2, head // 2), caption, fill="black", font=font, anchor="mm")
        for row, image in enumerate(images):
            sheet.paste(Image.fromarray(as_pixels(image)), (column * step, head + row * step))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        sheet.save(partial, format="PNG", optimize=True)
