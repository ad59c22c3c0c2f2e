"""What a wrapped host tells its user, once each: nothing is wrong, but it may not be what was meant."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from .spec import HostSpec

logger = logging.getLogger(__name__)


class Notices:
    """Warnings of one wrapped host.

    Args:
        spec: of its kind.
        host: the bare module.
    """

    def __init__(self, spec: HostSpec, host: nn.Module):
        self.spec = spec
        self._swallowed = dict(spec.swallowed(host)) if spec.swallowed else {}
        self._given: set[str] = set()

    def of_swallowed(self, arguments: Mapping[str, Any]) -> None:
        """Arguments of a call that the host takes and ignores."""
        for name in arguments.keys() & self._swallowed.keys():
            logger.warning("%s takes %r and does nothing with it: %s", self.spec.name, name, self._swallowed.pop(name))

    def of_condition(self, host: nn.Module, learned: bool) -> None:
        """A quality that changes nothing, and a host that changes by itself."""
        if not learned and self._first("untrained"):
            logger.warning(
                "the adapter of this %s has learned nothing yet, so it answers as the bare host; train one, or load "
                "one by wrap(host, adapter=...)",
                self.spec.name,
            )
        restless = restless_in(host)
        if restless and self._first("restless"):
            logger.warning(
                "this %s is in training mode, in which %d of its modules (%s, ...) answer at random or change its "
                "state; call model.eval() first, and model.train() then: it is for the adapters alone",
                self.spec.name,
                len(restless),
                restless[0],
            )

    def _first(self, notice: str) -> bool:
        """Whether it is the first of these."""
        before = len(self._given)
        self._given.add(notice)
        return len(self._given) > before


def restless_in(host: nn.Module) -> list[str]:
    """Paths of modules in training mode that draw at random then, or keep statistics of what they see."""
    return [path for path, module in host.named_modules() if module.training and _is_restless(module)]


def _is_restless(module: nn.Module) -> bool:
    if isinstance(module, _NormBase):
        return module.track_running_stats
    return isinstance(module, _DropoutNd) and module.p > 0
