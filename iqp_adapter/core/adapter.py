"""The adapter: what is trained, saved and loaded; its host is another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .attention import GatedCrossAttention
from .block import Block, Kept
from .both import Both
from .quality import SET_SCALES, ScoreScale, set_scales_entry
from .retrained import Retrained
from .score_map import ScoreMap
from .sites import Site

KINDS: dict[str, type[Block]] = {
    "attention": GatedCrossAttention,
    "score_map": ScoreMap,
    "both": Both,
}
"""Every kind of block, by the name that `wrap(host, block=...)` and the config of a saved adapter give it."""

LARGEST = 1 << 12
"""Of the sizes of a block that are numbers."""

ATTENTION = "attention"
"""The kind of block by default, and of adapters that were saved before there was another."""


class Adapter(nn.Module):
    """A block for every site, and what the blocks share.

        quality (B, S) ── embedding ──┬── condition of site 1
                                      └── condition of site 2 ...

    Its initial values are its own, whatever the state of the global random generator.

    Args:
        sites: places of injection.
        scales: score scale of each metric that the quality stands for; without one a single unnamed column.
        block: kind of its blocks, one of `KINDS`.
        seed: of the initial values.
        sizes: of the kind, such as `token_dim`, `tokens` and `inner` of attention, `rows` of score maps.

    Attributes:
        facts: what is told of its making (training, data, licence, ...), saved with it.
        set_scales: the score scale of each training set by its name, where there were several; saved with it.
        retrained: parameters of the host that learn with it; none where the host stays as it is.

    Raises:
        ValueError: for an unknown kind, and a size that it has not.
    """

    blocks: Any

    def __init__(
        self,
        sites: Sequence[Site],
        scales: Sequence[ScoreScale] = (),
        block: str = ATTENTION,
        seed: int = 0,
        **sizes: Any,
    ):
        super().__init__()
        self.sites, self.scales, self.block = tuple(sites), tuple(scales), block
        self.kind = kind_of_block(block, sizes)
        self.sizes: dict[str, Any] = {**self.kind.sizes, **sizes}
        self.facts: dict[str, Any] = {}
        self.set_scales: dict[str, ScoreScale] = {}
        columns = max(1, len(self.scales))
        with torch.inference_mode(False), torch.device("cpu"), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.embedding = self.kind.embedding(columns, self.sizes)
            blocks = {site.key: self.kind.build(site, columns, self.sizes) for site in self.sites}
            self.blocks = nn.ModuleDict(blocks)
        self.retrained = Retrained()

    @property
    def metrics(self) -> list[str]:
        """Names of the quality's columns."""
        return [scale.metric for scale in self.scales] or ["quality"]

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def learned(self) -> bool:
        """Whether any block adds anything; until then a host is what it was."""
        return any(block.learned for block in self.blocks.values())

    def retrain(self, parameters: Mapping[str, Tensor]) -> None:
        """Has copies of the host's parameters learn too, given by their names there."""
        self.retrained = Retrained(parameters)

    def asked(self, quality: Tensor) -> float | Tensor:
        """quality (B, S) -> 1; on a retrained host (B, 1, 1), 0 where there is no preference.

        A retrained host has itself learned what to do without a preference, so that its adapter adds nothing then.
        """
        if not self.retrained:
            return 1.0
        return (~quality.isnan().all(1)).to(next(self.parameters()).dtype)[:, None, None]  # (B, S) -> (B, 1, 1)

    def conditions(self, quality: Tensor) -> dict[str, Kept]:
        """quality (B, S) -> what every site keeps of it, by the site's key."""
        embedded = self.embedding(quality.to(next(self.parameters()).dtype))
        return {key: block.condition(embedded) for key, block in self.blocks.items()}

    def to_config(self) -> dict[str, Any]:
        """All that is needed to build it again, as JSON can hold."""
        return {
            "sites": [site.to_dict() for site in self.sites],
            "score_scales": [scale.to_dict() for scale in self.scales],
            **set_scales_entry(self.set_scales),
            **self.sizes,
            "block": self.block,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Adapter:
        block = config.get("block", ATTENTION)
        adapter = cls(
            [Site(**site) for site in config["sites"]],
            [ScoreScale.from_dict(scale) for scale in config["score_scales"]],
            block,
            **{name: config[name] for name in kind_of_block(block).sizes},
        )
        adapter.set_scales = {name: ScoreScale.from_dict(scale) for name, scale in config.get(SET_SCALES, {}).items()}
        return adapter


def kind_of_block(name: str, sizes: Mapping[str, Any] | None = None) -> type[Block]:
    """The kind of block of that name, which has all these sizes.

    Raises:
        ValueError: where there is none of that name, for a size that it has not, and for one unlike its default: no
            number of 1 or more, or no path.
    """
    if name not in KINDS:
        raise ValueError(f"unknown block {name!r:.80}; available: {', '.join(KINDS)}")
    if unknown := sorted((sizes or {}).keys() - KINDS[name].sizes.keys()):
        raise ValueError(f"block {name!r} has no {', '.join(unknown)}; it has {', '.join(KINDS[name].sizes)}")
    for size, value in (sizes or {}).items():
        if wanted := _unless_fit(KINDS[name].sizes[size], value):
            raise ValueError(f"{size} of block {name!r} is {value!r:.80}; give {wanted}")
    return KINDS[name]


def _unless_fit(default: Any, value: Any) -> str:
    """What a size should be that is unlike its default; empty where it is like it."""
    if isinstance(default, int) and not (type(value) is int and 1 <= value <= LARGEST):
        return f"a whole number from 1 to {LARGEST}"
    if isinstance(default, Mapping) and not isinstance(value, (str, Mapping)):
        return "the path of a site"
    return ""
