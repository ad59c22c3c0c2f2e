"""Stage 1 of IQPIR: pictures to the summed codes of two codebooks and back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from ...core.codes import Codes
from ...store import checkpoint
from ...store.reading import Fields
from .codebooks import Book, look_up
from .sizes import IQPIRConfig
from .trunk import encoder, generator

KIND = "iqpir tokenizer"
"""Entry of a checkpoint's config that holds the sizes."""


class Quantised(NamedTuple):
    """What stage 1 makes of a batch.

    Attributes:
        grid: summed codes (B, D, h, w), with straight-through gradient to the encoder from each codebook.
        codes: indices (B, L) of each codebook, common first; those of HQ+ for every picture.
        costs: (B,) of each codebook; that of HQ+ is zero for pictures that are not rich.
        rich: which pictures (B,) train HQ+.
    """

    grid: Tensor
    codes: Codes
    costs: tuple[Tensor, ...]
    rich: Tensor


class IQPIRTokenizer(nn.Module):
    """The autoencoder of stage 1; parameters have the official names.

    Both codebooks look up the same features. The HQ+ code is added with a weight, and counts as zero for pictures
    whose score is not above a threshold.

    Source: IQPIR, https://github.com/fengyang1399-pixel/IQPIR at a4408c7, by shapes and outputs.

    Args:
        config: sizes; those of the Transformer are not used.
        alpha: weight of the HQ+ code.
    """

    def __init__(self, config: IQPIRConfig, alpha: float = 0.8):
        super().__init__()
        self.config, self.alpha = config, alpha
        self.encoder, self.generator = encoder(config), generator(config)
        self.quantize = Book(config.codes, config.code_dim)
        if config.books == 2:
            self.quantize_aesthetic = Book(config.codes, config.code_dim)

    @property
    def books(self) -> tuple[Book, ...]:
        """Common first."""
        return (self.quantize, self.quantize_aesthetic) if self.config.books == 2 else (self.quantize,)

    def forward(self, x: Tensor, rich: Tensor) -> tuple[Tensor, Quantised]:
        """Pictures (B, 3, R, R) in [-1, 1], and which of them have HQ+ (B,) -> pictures and their codes."""
        quantised = self.quantise(x, rich)
        return self.generator(quantised.grid), quantised

    def codes(self, x: Tensor) -> Codes:
        """Indices (B, L) of each codebook for pictures (B, 3, R, R) in [-1, 1], whatever their quality."""
        features = self._features(x)
        return tuple(book.indices(features) for book in self.books)

    def quantise(self, x: Tensor, rich: Tensor) -> Quantised:
        features = self._features(x)
        common, *plus = (look_up(book, features) for book in self.books)
        entries, costs = common.entries, [common.cost]
        for looked in plus:
            entries = entries + self.alpha * looked.entries * rich[:, None, None]
            costs.append(looked.cost * rich)
        grid = entries.transpose(1, 2).unflatten(2, (self.config.grid, self.config.grid))
        return Quantised(grid, tuple(each.indices for each in (common, *plus)), tuple(costs), rich)

    def _features(self, x: Tensor) -> Tensor:
        """(B, 3, R, R) -> (B, L, D)."""
        return self.encoder(x).flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, L, D)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> IQPIRTokenizer:
        """What stage 1 has left in a folder.

        Raises:
            FileNotFoundError: where there is nothing.
            ValueError: for a checkpoint that is damaged, or of something else.
        """
        saved, state = checkpoint.load(folder)
        fields = Fields(saved, str(folder))
        config = IQPIRConfig.from_dict(fields.inside(KIND).data, f"{folder}: {KIND}")
        alpha = fields.number("alpha")
        return checkpoint.load_built(lambda: cls(config, alpha), state, source=str(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors."""
        checkpoint.save(folder, self.state_dict(), {KIND: self.config.to_dict(), "alpha": self.alpha})
