"""Pictures of any size for models of one size, and back."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate


def fit(lq: Tensor, side: int | None, like: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) -> (B, 3, side, side) on the device and of the dtype of `like`; no side keeps the size.

    Raises:
        ValueError: for a tensor of another shape.
    """
    if lq.ndim != 4 or lq.shape[1] != 3:
        raise ValueError(f"lq has shape {tuple(lq.shape)}, expected (B, 3, H, W) RGB in [0, 1]")
    return resize(lq.to(like), (side, side) if side else tuple(lq.shape[-2:]))


def as_given(restored: Tensor, lq: Tensor) -> Tensor:
    """Restored pictures -> the size, dtype and device of `lq`, in [0, 1]."""
    return resize(restored, tuple(lq.shape[-2:])).clamp(0, 1).to(lq)


def resize(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Pictures (B, 3, H, W) at another size (h, w), bicubic without aliasing; the same tensor where nothing changes."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return interpolate(images, size, mode="bicubic", antialias=True)
