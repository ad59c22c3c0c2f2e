"""The sizes in which the native model comes, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, overload

from ..core.colours import CLOSE
from ..store.reading import REQUIRED, Fields
from .iqpir.sizes import IQPIRConfig

_WHOLE = {
    "resolution": (8, 8192), "patch": (1, 64), "encoder_blocks": (1, 64), "decoder_blocks": (1, 64),
    "common_codes": (2, 1 << 20), "plus_codes": (1, 1 << 20), "code_dim": (1, 8192), "dim": (4, 16384),
    "layers": (1, 256), "heads": (1, 256), "tokens": (2, 256), "token_dim": (4, 16384),
    "finish_width": (0, 4096), "finish_blocks": (1, 64),
}  # fmt: skip
"""The least and the greatest value of each size."""

INJECTIONS = ("attention", "score_map", "both")
JOININGS = ("concatenated", "summed")
NULLS = ("learned", "zero")
_WORDS = {"injection": INJECTIONS, "joining": JOININGS, "null": NULLS}
"""The words for each choice of design; the first one is ours."""
_FLAGS = ("fused_picture", "keep_colours", "condition")


@dataclass(frozen=True)
class IQPFRConfig:
    """Size and design of an IQPFR model.

    The design is ours by default. Each other word is what the authors' code, IQPIR, does instead.

    Args:
        resolution: side R of the square pictures it restores, in pixels.
        patch: side of the pixel blocks folded into channels at full resolution.
        widths: channels per level of encoder and decoder, each level half the side of the one before.
        encoder_blocks, decoder_blocks: residual blocks per level.
        common_codes: entries K of the common codebook.
        plus_codes: entries K' of the HQ+ codebook.
        code_dim: width of an entry.
        plus_above: quality above which an image trains the HQ+ branch; -1 lets every image do so.
        dim, layers, heads: of the Transformer.
        fused_levels: levels, counted from the picture, at which the fidelity path joins the decoder.
        fused_picture: whether it also joins at the end, from the degraded picture itself.
        keep_colours: whether the fidelity path keeps the input's broad colours, and grey pictures stay grey; False
            where colours are to change.
        colour_reach: of the low-pass that tells these colours, as in `with_colours_of`.
        condition: False for a model that takes no quality (a baseline, or a host to wrap).
        tokens, token_dim: of the score embedding.
        injection: where the score enters: "attention", to condition tokens in every layer and on the fidelity path;
            "score_map", added once to the deepest features of the encoder, a full map for each of ten bins; or "both".
        joining: how an entry of each codebook makes a token: "concatenated", where each has its own half of the
            features; or "summed", where both quantise the same feature, and the decoder takes half as many channels.
        plus_weight: of the HQ+ entry in a sum.
        null: what stands for HQ+ where there is nothing to add: "learned", a vector; or "zero".
        finish_width: channels of the finish, with which codes are of pictures of half the side; 0 for none.
        finish_blocks: residual blocks of the finish.
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
    fused_picture: bool = False
    keep_colours: bool = True
    colour_reach: float = CLOSE
    condition: bool = True
    tokens: int = 4
    token_dim: int = 128
    injection: str = "attention"
    joining: str = "concatenated"
    plus_weight: float = 0.8
    null: str = "learned"
    finish_width: int = 0
    finish_blocks: int = 3

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose from {', '.join(words)}")
        if self.patch < 1 or self.patch & (self.patch - 1):
            raise ValueError(f"patch {self.patch} must be a power of two")
        if self.resolution % (self.resolution // self.coded * self.stride):
            raise ValueError(
                f"resolution {self.resolution} must be divisible by {self.resolution // self.coded * self.stride}: "
                "patch, levels and finish make that"
            )
        if self.heads < 1 or self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be divisible by heads {self.heads}")
        if outside := [level for level in self.fused_levels if level >= len(self.widths)]:
            raise ValueError(f"fused level {outside[0]} must be below the number of widths {len(self.widths)}")

    @property
    def finished(self) -> bool:
        """Whether a finish doubles the side of the coded picture."""
        return self.finish_width > 0

    @property
    def coded(self) -> int:
        """Side of the pictures that codes are of, in pixels."""
        return self.resolution // 2 if self.finished else self.resolution

    @property
    def stride(self) -> int:
        """Pixels of the coded picture per token, along a side."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @property
    def grid(self) -> int:
        """Side of the token grid."""
        return self.coded // self.stride

    @property
    def latent(self) -> int:
        """Channels that are quantised, and that the decoder takes."""
        return self.code_dim if self.joining == "summed" else 2 * self.code_dim

    @property
    def attended(self) -> int | None:
        """Width of the condition tokens that features attend to; None without such tokens."""
        return self.token_dim if self.condition and self.injection != "score_map" else None

    @property
    def has_score_map(self) -> bool:
        return self.condition and self.injection != "attention"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "the size of the model") -> IQPFRConfig:
        """What `to_dict` gave.

        Args:
            source: where it comes from, for the message.

        Raises:
            ValueError: for an entry that is missing, unknown, of another type or outside its range.
        """
        fields = Fields(data, source).only(cls.__dataclass_fields__)
        sizes: dict[str, Any] = {
            name: fields.whole(name, *ends, getattr(cls, name, REQUIRED)) for name, ends in _WHOLE.items()
        }
        widths, fused = fields.wholes("widths", 4, 16384, (1, 12)), fields.wholes("fused_levels", 0, 11, (0, 12))
        shares: dict[str, Any] = {
            "plus_above": fields.number("plus_above", -1, 1, cls.plus_above),
            "plus_weight": fields.number("plus_weight", 0, 10, cls.plus_weight),
            "colour_reach": fields.number("colour_reach", 0, 1, cls.colour_reach),
        }
        words: dict[str, Any] = {name: fields.text(name, known, getattr(cls, name)) for name, known in _WORDS.items()}
        flags: dict[str, Any] = {name: fields.truth(name, getattr(cls, name)) for name in _FLAGS}
        try:
            return cls(widths=widths, fused_levels=fused, **sizes, **shares, **flags, **words)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None


Size = IQPFRConfig | IQPIRConfig
"""Of a model of ours, or of the authors'."""

PRESETS: dict[str, Size] = {
    "paper": IQPIRConfig(),
    "iqpfr-512": IQPFRConfig(
        resolution=512, patch=1, widths=(64, 128, 128, 256, 256, 512), encoder_blocks=2, decoder_blocks=2,
        common_codes=1024, plus_codes=1024, code_dim=256, dim=512, layers=9, heads=8, fused_levels=(1, 2, 3, 4),
    ),
    "tiny": IQPFRConfig(
        resolution=512, patch=4, widths=(64, 192), encoder_blocks=1, decoder_blocks=1,
        common_codes=512, plus_codes=256, code_dim=32, dim=192, layers=4, heads=6, fused_levels=(0, 1),
        fused_picture=True, finish_width=32, finish_blocks=3,
    ),
    "tiny-256": IQPFRConfig(
        resolution=256, patch=4, widths=(64, 128, 224), encoder_blocks=1, decoder_blocks=1,
        common_codes=512, plus_codes=256, code_dim=32, dim=224, layers=5, heads=7, fused_levels=(0, 1),
    ),
}  # fmt: skip
"""`paper` is the model of the paper's authors, IQPIR: two codebooks that are summed and a score map of ten rows on the
trunk of CodeFormer. The others are IQPFR, which is ours: `iqpfr-512` has the widths of that trunk; `tiny` trains on two
CPU cores and ships with the library; `tiny-256` shipped before it. Earlier versions called `iqpfr-512` `paper`, and
`tiny-256` `tiny`."""


@overload
def preset(name: Literal["paper"], /, **changes: Any) -> IQPIRConfig: ...
@overload
def preset(name: Literal["iqpfr-512", "tiny", "tiny-256"], /, **changes: Any) -> IQPFRConfig: ...
@overload
def preset(name: str, /, **changes: Any) -> Size: ...
def preset(name: str, /, **changes: Any) -> Size:
    """A preset by name, with single values changed; its type says which model it is of.

    Where an IQPIR gets other levels, its fidelity path joins at all of them but the first and the last, as in `paper`;
    `fused` says otherwise.

    Raises:
        ValueError: for an unknown name, with the known ones, and for a value that cannot be.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r:.80}; available: {', '.join(PRESETS)}")
    size, source = PRESETS[name], f"preset {name}"
    if isinstance(size, IQPFRConfig):
        return IQPFRConfig.from_dict(size.to_dict() | changes, source)
    if ours := sorted(changes.keys() & IQPFRConfig.__dataclass_fields__.keys() - size.to_dict()):
        raise ValueError(f"{source} has no {', '.join(ours)}: it is the authors' model; ours of its size is iqpfr-512")
    changed = IQPIRConfig.from_dict(size.to_dict() | {"fused": []} | changes, source)
    return changed if "fused" in changes else replace(changed, fused=changed.sides[-2:0:-1])
