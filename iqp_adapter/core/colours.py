"""Colours: a restored face keeps the light and the white balance of its input, so that it fits neck, hair and wall."""

from __future__ import annotations

import torch
from torch import Tensor


def with_colours_of(lq: Tensor, restored: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """Detail of the restored faces on the broad colours of the degraded ones.

    Degradations blur and add noise but keep the colours of large areas, of which a model knows only what its training
    set has. Source: the wavelet colour correction of StableSR (arXiv 2305.07015). Differs: one low-pass, of about a
    20th of the face's side, instead of a pyramid.

    Args:
        lq, restored: (B, 3, R, R) in [0, 1].
        strength: a number or (B, 1, 1, 1); 0 keeps the restored colours, 1 takes those of `lq`.

    Returns:
        (B, 3, R, R), not clamped.
    """
    return restored + strength * broad(lq - restored)


def broad(images: Tensor) -> Tensor:
    """The broad colours of pictures (B, 3, R, R): three box filters, close to a Gaussian of half their width."""
    height, width = images.shape[-2:]
    boxes = {side: _boxes(side, width // 20, images) for side in {height, width}}
    return boxes[height] @ images @ boxes[width].T


def _boxes(side: int, reach: int, like: Tensor) -> Tensor:
    """Three box filters as a matrix (side, side); pictures times it take a fifth of the time of pooling, or less."""
    place = torch.arange(side, device=like.device)
    box = ((place[:, None] - place).abs() <= reach).to(like)
    return torch.linalg.matrix_power(box / box.sum(1, keepdim=True), 3)
