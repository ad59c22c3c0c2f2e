"""Colours: a restored face keeps the light and the white balance of its input, so that it fits neck, hair and wall."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

GREY, COLOURED = 0.004, 0.008
"""Mean difference of a picture's channels, over areas, up to which it is grey, and from which it has colours."""

WIDE, CLOSE = 1 / 20, 1 / 60
"""Reach of the low-pass as a share of the side: over large areas, and up to the contours of a face, chosen on dev."""


def with_colours_of(lq: Tensor, restored: Tensor, strength: float | Tensor = 1.0, reach: float = WIDE) -> Tensor:
    """Detail of the restored faces on the broad colours of the degraded ones.

    Degradations blur and add noise but keep the colours of large areas, of which a model knows only what its training
    set has. Source: the wavelet colour correction of StableSR (arXiv 2305.07015). Differs: one low-pass instead of a
    pyramid.

    Args:
        lq, restored: (B, 3, R, R) in [0, 1].
        strength: a number or (B, 1, 1, 1); 0 keeps the restored colours, 1 takes those of `lq`.
        reach: of the low-pass, as a share of the side, at least a pixel. A shorter one also takes away dark lines that
            a model draws along contours, and some of its contrast where the input has little.

    Returns:
        (B, 3, R, R), not clamped.
    """
    return restored + strength * broad(lq - restored, reach)


def grey_where_grey(lq: Tensor, restored: Tensor) -> Tensor:
    """The restored faces, without colours where the degraded one is grey: what a model invents there are specks.

    A picture counts as grey by the means of 8 x 8 areas, so that noise and JPEG do not make it coloured. Any tone, such
    as that of sepia, is a colour.

    Args:
        lq, restored: (B, 3, R, R) in [0, 1].

    Returns:
        (B, 3, R, R); a picture with colours is given back as it is, up to rounding.
    """
    areas = avg_pool2d(lq, max(1, lq.shape[-1] // 8))
    spread = (areas.amax(1) - areas.amin(1)).mean((1, 2))  # (B,)
    colour = ((spread - GREY) / (COLOURED - GREY)).clamp(0, 1)[:, None, None, None]
    levels = restored.mean(1, keepdim=True)
    return levels + colour * (restored - levels)


def broad(images: Tensor, reach: float = WIDE) -> Tensor:
    """The broad colours of pictures (B, 3, R, R): three box filters, close to a Gaussian of half their width."""
    height, width = images.shape[-2:]
    boxes = {side: _boxes(side, max(1, int(reach * width)), images) for side in {height, width}}
    return boxes[height] @ images @ boxes[width].T


def _boxes(side: int, reach: int, like: Tensor) -> Tensor:
    """Three box filters as a matrix (side, side); pictures times it take a fifth of the time of pooling, or less."""
    place = torch.arange(side, device=like.device)
    box = ((place[:, None] - place).abs() <= reach).to(like)
    return torch.linalg.matrix_power(box / box.sum(1, keepdim=True), 3)
