"""Encoder and decoder of the native model: a picture to a token grid and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

PICTURE = "picture"
"""Stands for the decoder's last features, beside the numbers of its levels."""

_DRAW = 3
"""Layers that make the picture of these features."""


class ResBlock(nn.Module):
    """Two 3 x 3 convolutions around which the features pass unchanged."""

    def __init__(self, dim: int, out_dim: int | None = None):
        super().__init__()
        out_dim = out_dim or dim
        self.body = nn.Sequential(
            _norm(dim), nn.SiLU(), _conv(dim, out_dim), _norm(out_dim), nn.SiLU(), _conv(out_dim, out_dim)
        )
        self.skip = nn.Identity() if dim == out_dim else nn.Conv2d(dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class SelfAttention(nn.Module):
    """Every position of a small grid looks at every other."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = _norm(dim)
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.out = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None]  # (B, 3C, H, W) -> (B, 1, HW, 3C)
        attended = scaled_dot_product_attention(*qkv.chunk(3, dim=-1))[:, 0]  # (B, HW, C)
        return x + self.out(attended.transpose(1, 2).unflatten(2, x.shape[2:]))  # (B, HW, C) -> (B, C, H, W)


class Encoder(nn.Module):
    """Picture (B, 3, R, R) -> features of every level, the last of which is the token grid.

    Args:
        patch: side of the pixel blocks that are folded into channels first.
        widths: channels of each level; every level halves the side.
        blocks: residual blocks per level.
    """

    def __init__(self, patch: int, widths: Sequence[int], blocks: int):
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(patch), _conv(3 * patch**2, widths[0]))
        levels: list[list[nn.Module]] = [[ResBlock(widths[0]) for _ in range(blocks)]]
        for dim, out_dim in pairwise(widths):
            down = nn.Conv2d(dim, out_dim, 3, stride=2, padding=1)
            levels.append([down, *(ResBlock(out_dim) for _ in range(blocks))])
        levels[-1] += [SelfAttention(widths[-1]), ResBlock(widths[-1]), _norm(widths[-1]), nn.SiLU()]
        self.levels = nn.ModuleList(nn.Sequential(*level) for level in levels)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.stem(2 * x - 1)]
        for level in self.levels:
            features.append(level(features[-1]))
        return features[1:]


class Decoder(nn.Module):
    """Token grid (B, C, L, L) -> picture (B, 3, R, R) in [0, 1] (not clamped), level by level.

    The folded blocks of the encoder's stem are unfolded by resize-convolutions, which leave no checkerboard.

    Args:
        dim: channels of the token grid.
        patch, widths, blocks: as in the encoder, whose levels are walked back.
    """

    def __init__(self, dim: int, patch: int, widths: Sequence[int], blocks: int):
        super().__init__()
        deepest = widths[-1]
        self.stem = nn.Sequential(_conv(dim, deepest), ResBlock(deepest), SelfAttention(deepest))
        self.levels = nn.ModuleList([nn.Sequential(*(ResBlock(deepest) for _ in range(blocks)))])
        for dim, out_dim in pairwise(reversed(widths)):
            self.levels.append(nn.Sequential(Up(dim, out_dim), *(ResBlock(out_dim) for _ in range(blocks))))
        head, dim = [], widths[0]
        for _ in range(patch.bit_length() - 1):
            head += [Up(dim, max(dim // 2, 16)), ResBlock(max(dim // 2, 16))]
            dim = max(dim // 2, 16)
        self.last_width = dim
        self.head = nn.Sequential(*head, _norm(dim), nn.SiLU(), _conv(dim, 3))

    def forward(self, grid: Tensor, fuse: Mapping[str, Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        """`fuse` holds what is done to the features after a level, "0" and on from the picture, and to the last ones.

        The last ones, `PICTURE`, have the size of the picture.
        """
        fuse = fuse or {}
        x = self.stem(grid)
        for depth, level in zip(reversed(range(len(self.levels))), self.levels, strict=True):
            x = fuse.get(str(depth), _as_it_is)(level(x))
        x = fuse.get(PICTURE, _as_it_is)(self.head[:-_DRAW](x))
        return self.head[-_DRAW:](x) * 0.5 + 0.5


class Up(nn.Module):
    """Twice the side: channels are changed first, where it is cheap."""

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.conv = _conv(dim, out_dim)
        self.resize = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        return self.resize(self.conv(x))


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _conv(dim: int, out_dim: int) -> nn.Conv2d:
    return nn.Conv2d(dim, out_dim, 3, padding=1)


def _norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, dim // 4), dim)
