"""The hooks of a wrapped host: during a conditioned call they add what is asked for, at all other times nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.flags import Flags
from ..core.sites import Site, laid_out_as
from .dial import Setting
from .hooks import Tap, forget_compiled, given
from .spec import OwnDial

_WHOLE, _SCORE = "", "score"
"""Keys of the hooks that are on the host itself: after it has run, and before it, where it takes a score."""


@dataclass(frozen=True)
class Call:
    """What is known while the host runs: what is asked for, and which sites have run."""

    setting: Setting
    fired: dict[str, bool] = field(default_factory=dict)


class Attached:
    """Everything that wrapping puts on a host, and how it comes off again.

    Args:
        host: the bare module.
        name: of its kind, for errors.
        own: the dial that it has itself.

    Attributes:
        call: what is asked for now; None is the bare host.
    """

    def __init__(self, host: nn.Module, name: str, own: OwnDial | None):
        self.host, self.name, self.own = host, name, own
        self.call: Call | None = None
        self.sites: Mapping[str, Site] = {}
        self._found = Flags.of(host)
        self._frozen = False
        self._handles: dict[str, RemovableHandle] = {_WHOLE: host.register_forward_hook(self._check_fired)}
        if own is not None:
            self._handles[_SCORE] = host.register_forward_pre_hook(self._give_score, with_kwargs=True)
        self.freeze(True)

    def move_to(self, sites: Mapping[str, Site]) -> None:
        """Has a hook at these sites, by their keys, and nowhere else."""
        for key in self.sites.keys() - sites.keys():
            self._handles.pop(key).remove()
        for key in sites.keys() - self.sites.keys():
            self._handles[key] = Tap(sites[key], self.inject).attach(self.host)
        self.sites = dict(sites)
        forget_compiled()

    def come_off(self) -> None:
        """Leaves the host as it was found."""
        for handle in self._handles.values():
            handle.remove()
        self._found.give_back(self.host)
        forget_compiled()

    def freeze(self, frozen: bool) -> None:
        """The host does not learn where something learns; elsewhere its parameters are flagged as they were found.

        Not at all times, since torch multiplies by other kernels where weights need no gradient, even without any: the
        bare host would differ from itself in the last bit.
        """
        if frozen and not self._frozen:
            self.host.requires_grad_(False)
        elif self._frozen and not frozen:
            self._found.thaw(self.host)
        self._frozen = frozen

    def inject(self, site: Site, x: Tensor) -> Tensor:
        """What becomes of a site's tensor."""
        if self.call is None:
            return x
        features = site.tokens(x)
        self.call.fired[site.key] = True
        deltas = [injection(features) for injection in self.call.setting.plan.get(site.key, ())]
        return laid_out_as(x, x + site.untokens(sum(deltas[1:], deltas[0]), x)) if deltas else x

    def _give_score(self, host: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Fills in the host's own score, where a quality is asked for and the caller has not given one."""
        score = None if self.call is None else self.call.setting.score
        if score is None or self.own is None or given(host, self.own.argument, arguments, named):
            return None
        pictures = arguments[0] if arguments else next(iter(named.values()))
        return arguments, named | {self.own.argument: score.to(pictures).expand(len(pictures))}

    def _check_fired(self, host: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        if self.call is None:
            return
        required = {key for key, site in self.sites.items() if not site.optional}
        silent = sorted(self.sites[key].path for key in required - self.call.fired.keys())
        self.call.fired.clear()
        if silent:
            raise RuntimeError(
                f"{len(silent)} of {len(self.sites)} sites ({silent[0]}, ...) did not run in this call of {self.name}; "
                f"call it in a way that runs them, or mark them optional"
            )
