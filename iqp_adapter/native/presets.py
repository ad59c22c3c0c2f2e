"""The sizes in which the native model comes, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class IQPFRConfig:
    """Size of an IQPFR model.

    Args:
        resolution: side R of the square pictures it restores, in pixels.
        patch: side of the pixel blocks folded into channels at full resolution.
        widths: channels per level of encoder and decoder, each level half the side of the one before.
        encoder_blocks, decoder_blocks: residual blocks per level.
        common_codes: entries K of the common codebook.
        plus_codes: entries K' of the HQ+ codebook.
        code_dim: width of an entry.
        plus_above: quality above which an image trains the HQ+ branch.
        dim, layers, heads: of the Transformer.
        fused_levels: levels, counted from the picture, at which the fidelity path joins the decoder.
        keep_colours: whether the fidelity path keeps the input's broad colours; False where colours are to change.
        condition: False for a model that takes no quality (a baseline, or a host to wrap).
        tokens, token_dim: of the score embedding.
    """

    resolution: int
    patch: int
    widths: tuple[int, ...]
    encoder_blocks: int
    decoder_blocks: int
    common_codes: int
    plus_codes: int
    code_dim: int
    dim: int
    layers: int
    heads: int
    fused_levels: tuple[int, ...]
    plus_above: float = 0.5
    keep_colours: bool = True
    condition: bool = True
    tokens: int = 4
    token_dim: int = 128

    def __post_init__(self) -> None:
        if self.resolution % self.stride:
            raise ValueError(
                f"resolution {self.resolution} must be divisible by {self.stride}: patch and levels make that"
            )

    @property
    def stride(self) -> int:
        """Pixels per token, along a side."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @property
    def grid(self) -> int:
        """Side of the token grid."""
        return self.resolution // self.stride

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> IQPFRConfig:
        values: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in data.items()}
        return cls(**values)


PRESETS = {
    "paper": IQPFRConfig(
        resolution=512, patch=1, widths=(64, 128, 128, 256, 256, 512), encoder_blocks=2, decoder_blocks=2,
        common_codes=1024, plus_codes=1024, code_dim=256, dim=512, layers=9, heads=8, fused_levels=(1, 2, 3, 4),
    ),
    "tiny": IQPFRConfig(
        resolution=256, patch=4, widths=(64, 128, 224), encoder_blocks=1, decoder_blocks=1,
        common_codes=512, plus_codes=256, code_dim=32, dim=224, layers=5, heads=7, fused_levels=(0, 1),
    ),
}  # fmt: skip
"""`paper` has the widths of CodeFormer, on whose trunk the paper's authors build, with blocks of our own; `tiny` trains
on two CPU cores and ships with the library."""


def preset(name: str, **changes: Any) -> IQPFRConfig:
    """A preset by name, with single values changed; an unknown name is answered with the known ones."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; available: {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
