"""Stage 1: pictures to codes of two codebooks and back, with the HQ+ branch reserved for pictures of high quality."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..core.codes import Codes
from ..store import checkpoint
from ..store.reading import Fields
from .autoencoder import Decoder, Encoder
from .codebook import Codebook, MovingCodebook
from .joining import joining_of
from .presets import IQPFRConfig

Book = TypeVar("Book", bound=Codebook)

NULL = 0
"""The HQ+ code that says: nothing to add. The entries of the HQ+ codebook are codes 1 to K'."""


class DualCodebook(nn.Module, Generic[Book]):
    """The common codebook holds universal structure, HQ+ what only high-scoring pictures have, or a null.

    Source: the dual-branch codebook of IQPFR (arXiv 2503.09294). Differs from the authors' code, IQPIR: there both
    codebooks quantise one feature by Euclidean distance and are summed (common + 0.8 HQ+), HQ+ counts as zero below an
    absolute score in stage 1 alone, and entries learn by gradient. Here each codebook has a feature of its own, entries
    are concatenated per token, HQ+ sees only pictures above a quality quantile, and a learned null stands for "nothing
    to add" in every stage. The sum and the zero can be had by the configuration.
    """

    null: Tensor

    def __init__(self, config: IQPFRConfig, codebook: type[Book]):
        super().__init__()
        self.common = codebook(config.common_codes, config.code_dim)
        self.plus = codebook(config.plus_codes, config.code_dim)
        self.joining = joining_of(config)
        null = torch.zeros(1, config.code_dim)
        if config.null == "learned":
            self.null = nn.Parameter(null)
        else:
            self.register_buffer("null", null)

    @property
    def plus_entries(self) -> Tensor:
        """Entries by HQ+ code, the null first: (K' + 1, D)."""
        return torch.cat([self.null, self.plus.entries])

    def lookup(self, common: Tensor, plus: Tensor) -> Tensor:
        """Code indices (B, L) of both branches -> tokens (B, L, Z)."""
        return self.joining.join(self.common.lookup(common), self.plus_entries[plus])

    def mix(self, common: Tensor, plus: Tensor) -> Tensor:
        """Code weights (B, L, K) and (B, L, K' + 1) -> tokens (B, L, Z), differentiable."""
        return self.joining.join(self.common.mix(common), plus @ self.plus_entries.to(plus.dtype))

    def scaled(self, features: Tensor) -> Tensor:
        """Features (B, L, Z) at the length of the entries that replace them: where straight-through gradients enter."""
        common, plus = self.joining.split(features)
        return self.joining.join(self.common.scaled(common), self.plus.scaled(plus))


class Quantised(NamedTuple):
    """What stage 1 makes of a batch: tokens (B, L, Z), codes (B, L) of both branches, commitment (), raw tokens.

    `rich` (B,) says which pictures are good enough for HQ+; `plus_tokens` are of those alone.
    """

    tokens: Tensor
    codes: Codes
    commitment: Tensor
    common_tokens: Tensor
    plus_tokens: Tensor
    rich: Tensor


class Tokenizer(nn.Module):
    """The autoencoder of stage 1: its codes are what stage 2 learns to predict, its decoder is kept."""

    def __init__(self, config: IQPFRConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.patch, config.widths, config.encoder_blocks)
        self.to_codes = nn.Conv2d(config.widths[-1], config.latent, 1)
        self.books = DualCodebook(config, MovingCodebook)
        self.decoder = Decoder(config.latent, config.patch, config.widths, config.decoder_blocks)

    def quantise(self, hq: Tensor, quality: Tensor) -> Quantised:
        """hq (B, 3, R, R) with its quality (B,): the best pictures get HQ+ codes, the others the null."""
        return self.quantise_features(self.encoder(hq)[-1], quality)

    def quantise_features(self, features: Tensor, quality: Tensor) -> Quantised:
        latent = self.to_codes(features).float().flatten(2).transpose(1, 2)  # (B, Z, h, w) -> (B, L, Z)
        common, plus = self.books.joining.split(latent)
        common_entries, common_codes, common_cost = self.books.common.quantise(common)
        plus_entries, plus_codes, plus_cost = self.books.plus.quantise(plus)
        rich = quality > self.config.plus_above  # (B,)
        plus_entries = torch.where(rich[:, None, None], plus_entries, self.books.null)
        plus_codes = torch.where(rich[:, None], plus_codes + 1, NULL)
        tokens = self.books.joining.join(common_entries, plus_entries)
        commitment = common_cost.mean() + (plus_cost * rich).mean()
        return Quantised(tokens, (common_codes, plus_codes), commitment, common, plus[rich], rich)

    @classmethod
    def from_pretrained(cls, folder: Path, config: IQPFRConfig | None = None) -> Tokenizer:
        """The codebooks and the autoencoder that stage 1 has left in a folder; by default of the size that it says."""
        saved, state = checkpoint.load(folder)
        size = config or IQPFRConfig.from_dict(Fields(saved, str(folder)).inside("tokenizer").data, str(folder))
        return checkpoint.load_built(lambda: cls(size), state, source=str(folder))

    def save_pretrained(self, folder: Path) -> None:
        checkpoint.save(folder, self.state_dict(), {"tokenizer": self.config.to_dict()})

    def decode(self, tokens: Tensor) -> Tensor:
        """tokens (B, L, Z) -> pictures (B, 3, R, R)."""
        return self.decoder(as_grid(tokens))

    def forward(self, hq: Tensor, quality: Tensor) -> tuple[Tensor, Quantised]:
        quantised = self.quantise(hq, quality)
        return self.decode(quantised.tokens), quantised

    @torch.no_grad()
    def update_codebooks(self, quantised: Quantised) -> None:
        """The moving averages of one training step; the null is a parameter and learns by gradient."""
        common, plus = quantised.codes
        self.books.common.update(quantised.common_tokens.flatten(0, 1), common.flatten())
        chosen = plus[plus[:, 0] != NULL].flatten() - 1
        self.books.plus.update(quantised.plus_tokens.flatten(0, 1), chosen)


def as_grid(tokens: Tensor) -> Tensor:
    """tokens (B, L, C) of a square grid -> (B, C, h, w)."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.transpose(1, 2).unflatten(2, (side, side)).contiguous(memory_format=torch.channels_last)
