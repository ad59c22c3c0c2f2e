"""Colours: a restored face keeps the light and the white balance of its input, so that it fits neck, hair and wall."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d


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
    width = 2 * (images.shape[-1] // 20) + 1
    for _ in range(3):
        images = avg_pool2d(images, (width, 1), 1, (width // 2, 0), count_include_pad=False)
        images = avg_pool2d(images, (1, width), 1, (0, width // 2), count_include_pad=False)
    return images
