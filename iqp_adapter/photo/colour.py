"""Colour: a restored face keeps the light and the white balance of its photo, so that it fits neck, hair and wall."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d


def with_colour_of(lq: Tensor, restored: Tensor) -> Tensor:
    """Detail of the restored faces on the broad colours of the degraded ones; all (B, 3, R, R) in [0, 1].

    Source: the wavelet colour correction of StableSR (arXiv:2305.07015). Differs: one low-pass, of about a 20th of the
    face's side, instead of a pyramid.
    """
    return (restored + _broad(lq) - _broad(restored)).clamp(0, 1)


def _broad(images: Tensor) -> Tensor:
    """Three box filters in a row, which are close to a Gaussian of half their width."""
    width = 2 * (images.shape[-1] // 20) + 1
    for _ in range(3):
        images = avg_pool2d(images, (width, 1), 1, (width // 2, 0), count_include_pad=False)
        images = avg_pool2d(images, (1, width), 1, (0, width // 2), count_include_pad=False)
    return images
