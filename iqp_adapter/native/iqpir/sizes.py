"""Sizes of an IQPIR: given, or read off the shapes of a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ...store.reading import Fields

NONE, MAP, ADAIN = "none", "map", "adain"
"""How the score enters: not at all, as a map added to the encoder's output, or through the norms of the Transformer."""

_ADAIN_DIM = 32
"""Channels of the score's map for the norms."""

HEADS = 8
"""Of the Transformer, which shapes do not tell."""


@dataclass(frozen=True)
class IQPIRConfig:
    """Sizes of an IQPIR; the defaults are those of the authors' model with two codebooks and a score map.

    Args:
        resolution: side of the square pictures it restores, in pixels.
        widths: channels per level of encoder and generator, each level half the side of the one before.
        blocks: residual blocks per level.
        code_dim: width D of a code and of the encoder's output.
        codes: entries K of each codebook.
        books: number of codebooks, 1 (common) or 2 (common and HQ+).
        dim, mlp, layers, heads: of the Transformer.
        score: how the score enters: "none", "map" or "adain".
        rows: of each score's table; several tables take a score each.
        fused: sides of the maps, in pixels, at which the fidelity path joins the generator.
    """

    resolution: int = 512
    widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512)
    blocks: int = 2
    code_dim: int = 256
    codes: int = 1024
    books: int = 2
    dim: int = 512
    mlp: int = 1024
    layers: int = 9
    heads: int = HEADS
    score: str = MAP
    rows: tuple[int, ...] = (10,)
    fused: tuple[int, ...] = (32, 64, 128, 256)

    def __post_init__(self) -> None:
        if self.resolution % 2 ** (self.levels - 1):
            raise ValueError(f"resolution {self.resolution} must be divisible by {2 ** (self.levels - 1)}")
        if wrong := [width for width in self.widths if width % 32]:
            raise ValueError(f"width {wrong[0]} must be divisible by 32, the groups of its norms")
        if self.heads < 1 or self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be divisible by heads {self.heads}")
        if self.books not in (1, 2) or self.score not in (NONE, MAP, ADAIN) or (self.score == NONE) == bool(self.rows):
            raise ValueError(
                f"books {self.books}, score {self.score!r} and rows {self.rows}: give 1 or 2 books, and score "
                f"{MAP!r} or {ADAIN!r} with rows or {NONE!r} without"
            )
        if wrong := [side for side in self.fused if side not in self.sides[:-1]]:
            raise ValueError(f"fused side {wrong[0]} must be one of {', '.join(map(str, self.sides[:-1]))}")

    @property
    def levels(self) -> int:
        return len(self.widths)

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the maps of each level, in pixels."""
        return tuple(self.resolution >> level for level in range(self.levels))

    @property
    def coded(self) -> int:
        """Side of the pictures that codes are of, in pixels."""
        return self.resolution

    @property
    def grid(self) -> int:
        """Side of the grid of codes."""
        return self.sides[-1]

    @property
    def score_dim(self) -> int:
        """Channels of the score's map."""
        return _ADAIN_DIM if self.score == ADAIN else self.code_dim

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "the size of the model") -> IQPIRConfig:
        """What `to_dict` gave.

        Raises:
            ValueError: for an entry that is missing, unknown, of another type or outside its range.
        """
        fields = Fields(data, source).only(cls.__dataclass_fields__)
        sizes: dict[str, Any] = {name: fields.whole(name, 1, 16384) for name in _WHOLE}
        lists: dict[str, Any] = {name: fields.wholes(name, 1, 16384, (least, 12)) for name, least in _LISTS.items()}
        try:
            return cls(**sizes | lists, score=fields.text("score", (NONE, MAP, ADAIN)))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> IQPIRConfig:
        """Reads the sizes off a state dict with the keys of the authors' class, in every variant of it.

        Raises:
            KeyError: for a key that is not there.
        """
        positions, dim = state["position_emb"].shape
        codes, code_dim = state["quantize.embedding.weight"].shape
        widths = _widths(state)
        sides = _numbers(state, "fuse_convs_dict.")
        return cls(
            resolution=round(positions**0.5) << (len(widths) - 1),
            widths=widths,
            blocks=_blocks(state),
            code_dim=code_dim,
            codes=codes,
            books=2 if "quantize_aesthetic.embedding.weight" in state else 1,
            dim=dim,
            mlp=len(state["ft_layers.0.linear1.weight"]),
            layers=len(_numbers(state, "ft_layers.")),
            score=_score(state),
            rows=tuple(len(state[key]) for key in sorted(state) if key.startswith("score_embed.")),
            fused=tuple(sides),
        )


_WHOLE = ("resolution", "blocks", "code_dim", "codes", "books", "dim", "mlp", "layers", "heads")
_LISTS = {"widths": 2, "rows": 0, "fused": 0}
"""Lists of whole numbers -> their least length."""


def _score(state: Mapping[str, Tensor]) -> str:
    if not any(key.startswith("score_embed.") for key in state):
        return NONE
    return ADAIN if any(".adaLN_modulation." in key for key in state) else MAP


def _widths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Those of the levels that end with a reduction, and that of the deepest one."""
    downs = [state[key] for place in _numbers(state, "encoder.blocks.") if (key := _down(place)) in state]
    return (*(len(weight) for weight in downs), state["generator.blocks.0.weight"].shape[0])


def _blocks(state: Mapping[str, Tensor]) -> int:
    """The first reduction comes after the first convolution and the blocks of the first level."""
    return next(place for place in _numbers(state, "encoder.blocks.") if _down(place) in state) - 1


def _down(place: int) -> str:
    return f"encoder.blocks.{place}.conv.weight"


def _numbers(state: Mapping[str, Tensor], start: str) -> list[int]:
    """The numbers that follow this start of a key, in order."""
    found = {key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)}
    return sorted(int(number) for number in found)
