"""The adapter: what is trained, saved and loaded; its host is another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .attention import GatedCrossAttention, KeysValues
from .embedding import ScoreEmbedding
from .quality import ScoreScale
from .sites import Site


class Adapter(nn.Module):
    """A score embedding, and one gated cross-attention per site.

        quality (B, S) ── embedding ── tokens ──┬── keys, values of site 1
                                                └── keys, values of site 2 ...

    Its initial values are its own, whatever the state of the global random generator.

    Args:
        sites: places of injection.
        scales: score scale of each metric that the quality stands for; without one a single unnamed column.
        token_dim: width D of the condition tokens.
        tokens: number of condition tokens T.
        inner: greatest width of the attention.
        seed: of the initial values.

    Attributes:
        facts: what is told of its making (training, data, licence, ...), saved with it.
    """

    blocks: Any

    def __init__(
        self,
        sites: Sequence[Site],
        scales: Sequence[ScoreScale] = (),
        token_dim: int = 128,
        tokens: int = 4,
        inner: int = 128,
        seed: int = 0,
    ):
        super().__init__()
        self.sites, self.scales = tuple(sites), tuple(scales)
        self.sizes = {"token_dim": token_dim, "tokens": tokens, "inner": inner}
        self.facts: dict[str, Any] = {}
        with torch.inference_mode(False), torch.device("cpu"), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.embedding = ScoreEmbedding(token_dim, tokens, max(1, len(self.scales)))
            self.blocks = nn.ModuleDict(
                {site.key: GatedCrossAttention(site.dim, token_dim, _width(site.dim, inner)) for site in self.sites}
            )

    @property
    def metrics(self) -> list[str]:
        """Names of the quality's columns."""
        return [scale.metric for scale in self.scales] or ["quality"]

    @property
    def device(self) -> torch.device:
        return self.embedding.base.device

    @property
    def learned(self) -> bool:
        """Whether any gate has opened; until then a host is what it was."""
        return any(bool(block.gate != 0) for block in self.blocks.values())

    def keys_values(self, quality: Tensor) -> dict[str, KeysValues]:
        """quality (B, S) -> keys and values of every site, by the site's key."""
        tokens = self.embedding(quality)
        return {key: block.keys_values(tokens) for key, block in self.blocks.items()}

    def to_config(self) -> dict[str, Any]:
        """All that is needed to build it again, as JSON can hold."""
        return {
            "sites": [site.to_dict() for site in self.sites],
            "score_scales": [scale.to_dict() for scale in self.scales],
            **self.sizes,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Adapter:
        return cls(
            [Site(**site) for site in config["sites"]],
            [ScoreScale.from_dict(scale) for scale in config["score_scales"]],
            **{name: config[name] for name in ("token_dim", "tokens", "inner")},
        )


def _width(dim: int, inner: int, heads: int = 4) -> int:
    """At most `inner`, not wider than the site, and a multiple of the heads."""
    return max(1, min(inner, dim) // heads) * heads
