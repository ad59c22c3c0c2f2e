"""The dial of a wrapped host: its adapters, the quality that is set, and what is computed once for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.adapter import Adapter
from ..core.block import Kept
from ..core.injection import Injection, Scale, strengths
from ..core.numbers import check_number
from ..core.own_dial import OwnDial
from ..core.quality import OWN, Asked, Quality, as_rows
from ..core.sites import Site

DEFAULT = "default"
"""Name of the adapter that a host is wrapped with."""

Conditions = dict[str, tuple[float | Tensor, dict[str, Kept]]]
"""By the adapter's name: for which pictures it is asked, and what its blocks keep of a quality by the site's key."""


@dataclass(frozen=True)
class Setting:
    """What one call asks for.

    Attributes:
        plan: what is added, by the site's key.
        score: what the host's own dial is given, (1,) or (B,); None where it has none.
    """

    plan: Mapping[str, list[Injection]]
    score: Tensor | None


class Dial:
    """Turns a quality into what a call of the host adds at its sites.

    Args:
        own: the dial that the host has itself, if it has one.

    Attributes:
        adapters: by name, an `nn.ModuleDict`.
        weights: by name; what the adapters add is summed with them.
    """

    adapters: Any

    def __init__(self, own: OwnDial | None = None):
        self.own = own
        self.adapters = nn.ModuleDict()
        self.weights: dict[str, float] = {}
        self._quality: Quality | None = None
        self._kept: tuple[Quality, list[tuple[int, int]], Conditions] | None = None

    @property
    def quality(self) -> Quality | None:
        """What calls ask for that name no quality; None is the bare host."""
        return self._quality

    @quality.setter
    def quality(self, quality: Quality | None) -> None:
        if quality is not None:
            for adapter in self.adapters.values():
                as_rows(quality, adapter.metrics)
        self._quality = quality
        self.forget()

    @property
    def sites(self) -> dict[str, Site]:
        """Every place at which an adapter adds something, by its key."""
        return {site.key: site for adapter in self.adapters.values() for site in adapter.sites}

    @property
    def learned(self) -> bool:
        """Whether a quality changes anything."""
        return self.own is not None or any(adapter.learned for adapter in self.adapters.values())

    @property
    def retrained(self) -> dict[str, nn.Parameter]:
        """What stands in for parameters of the host, by their names there."""
        return {name: each for adapter in self.adapters.values() for name, each in adapter.retrained.named().items()}

    def check(self, name: str, weight: float) -> None:
        """Raises ValueError for what cannot be the name or the weight of another adapter."""
        if name in self.adapters:
            raise ValueError(f"there is an adapter {name!r} already; choose another name, or remove it first")
        if not isinstance(name, str) or not name or "." in name or hasattr(self.adapters, name):
            raise ValueError(f"an adapter cannot be called {name!r}; choose a word without dots, such as 'portraits'")
        check_number(f"the weight of adapter {name!r}", weight)

    def check_alone(self, retrained: bool) -> None:
        """Raises ValueError for an adapter beside that of a retrained host: it was trained on the host as it was.

        Args:
            retrained: whether the adapter that comes has parameters of the host.
        """
        if self.adapters and (retrained or self.retrained):
            raise ValueError(
                f"the adapter of a retrained host works alone, and there would be {len(self.adapters) + 1}; "
                f"load it by wrap(host, adapter=...), or another one without it"
            )

    def add(self, name: str, adapter: Adapter, weight: float) -> None:
        """Adds an adapter; what several add to the same features is summed."""
        self.adapters[name], self.weights[name] = adapter, weight
        self.forget()

    def remove(self, name: str) -> None:
        """Removes one of several adapters."""
        if name not in self.adapters or len(self.adapters) == 1:
            raise ValueError(f"cannot remove {name!r} of {', '.join(self.adapters)}; for the bare host use unwrap()")
        del self.adapters[name], self.weights[name]
        self.forget()

    def forget(self) -> None:
        """Has what is kept of the quality computed anew."""
        self._kept = None

    def setting(self, quality: Asked, scale: Scale) -> Setting | None:
        """What a call with this quality and scale asks for; None where that is the bare host."""
        own = quality is OWN
        wanted: Any = self._quality if own else quality
        if wanted is None or (isinstance(scale, (int, float)) and scale == 0):
            return self._bare()
        keeps = own and not torch.is_grad_enabled()
        conditions = self._kept_conditions(wanted) if keeps else self._conditions(wanted)
        return Setting(self._plan(conditions, scale), None if self.own is None else self.own.score(wanted))

    def _bare(self) -> Setting | None:
        """The bare host: no setting, but the score of no preference for one that cannot be called without."""
        if self.own is None or not self.own.required:
            return None
        return Setting({}, self.own.score("any"))

    def _plan(self, conditions: Conditions, scale: Scale) -> dict[str, list[Injection]]:
        sites = self.sites
        plan: dict[str, list[Injection]] = {key: [] for key in sites}
        strength = strengths(scale, sites, like=next(self.adapters.parameters()))
        for name, adapter in self.adapters.items():
            weight = check_number(f"the weight of adapter {name!r}", self.weights[name])
            asked, kept = conditions[name]
            for key, block in adapter.blocks.items() if weight else ():
                plan[key].append(Injection(block, kept[key], weight * strength[key], asked))
        return plan

    def _conditions(self, quality: Quality) -> Conditions:
        device = next(self.adapters.parameters()).device
        with torch.autocast(device.type, enabled=False):
            rows = {name: as_rows(quality, each.metrics, each.device) for name, each in self.adapters.items()}
            return {name: (each.asked(rows[name]), each.conditions(rows[name])) for name, each in self.adapters.items()}

    def _kept_conditions(self, quality: Quality) -> Conditions:
        """Those of the quality that is set, computed when it or a parameter has changed, as tensors for any mode."""
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.adapters.parameters()]
        kept = self._kept
        if kept is None or kept[0] is not quality or kept[1] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = kept = (quality, state, self._conditions(quality))
        return kept[2]
