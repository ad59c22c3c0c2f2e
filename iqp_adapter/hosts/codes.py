"""The discrete codes of a host, whichever it is: read, exchanged and judged while it restores a picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core.codes import Codes, straight_through, with_moments_of
from ..pictures import as_unit
from .hooks import of_this_thread
from .spec import CodeAccess

_SURE = 100.0
"""Logit of a code that is put in, the others being 0: certain in every precision."""


class _Enough(Exception):  # noqa: N818 - nothing is wrong
    """Leaves the host's forward early."""


class HostCodes:
    """The codes that a host decides on its way from a picture to a restored one.

        lq ── host ── features ── logits ──┬── nearest code ── entry ── host ──► restored
                                           └─ or other codes ─┘

    Whoever uses it decides in what condition the host runs.

    Args:
        host: the module that decides them, whose name errors say.
        access: where it does.
        restore: runs the host on the picture, its own way; restored (B, 3, R, R) in [0, 1].
    """

    def __init__(self, host: nn.Module, access: CodeAccess, restore: Callable[[], Tensor]):
        self.host, self.access, self.restore = host, access, restore

    def logits(self) -> Tensor:
        """Code logits (B, L, K) as the host decides them; the decoder does not run."""
        return self.decided()[1]

    def decided(self) -> tuple[Tensor, Tensor]:
        """The features (B, L, D) that the codes stand for, and their logits (B, L, K); the decoder does not run."""
        features, logits = self._outputs_of(self.access.features, self.access.logits.path)
        return _tokens(features), self.access.logits.tokens(logits)

    @torch.no_grad()
    def nearest(self) -> Tensor:
        """Indices (B, L) of the codes nearest to what the host's encoder makes of the picture."""
        [features] = self._outputs_of(self.access.features)
        return torch.cdist(_tokens(features).float(), self.access.codebook(self.host).float()[None]).argmin(-1)

    def decode(self, codes: Codes) -> Tensor:
        """What the host makes of other codes.

        Args:
            codes: one tensor of code weights (B, L, K), one-hot in value; where they have a gradient, so has the
                picture.

        Raises:
            ValueError: for a gradient that the host does not pass on.
        """
        [weights] = codes
        exchange = _Exchange(self.host, self.access, weights)
        with exchange.attached():
            restored = as_unit(self.restore().float())
        if weights.requires_grad and not (exchange.differentiable and restored.requires_grad):
            raise ValueError(
                f"{type(self.host).__name__} decodes without gradients, so its codes cannot be optimised; sample them "
                f"by best_of"
            )
        return restored

    def _outputs_of(self, *paths: str) -> list[Tensor]:
        """What submodules give while the host restores, which ends when all of them have run."""
        caught: dict[str, Tensor] = {}

        def catch(path: str, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            caught[path] = output
            if len(caught) == len(paths):
                raise _Enough

        place = self.host.get_submodule
        handles = [place(path).register_forward_hook(of_this_thread(partial(catch, path))) for path in paths]
        try:
            self.restore()
        except _Enough:
            return [caught[path] for path in paths]
        finally:
            for handle in handles:
                handle.remove()
        silent = ", ".join(path for path in paths if path not in caught)
        raise RuntimeError(f"{silent} did not run in {type(self.host).__name__}; its host file names another place")


class _Exchange:
    """Puts codes in the place of the host's own during a call: their value by its logits, their gradient by its map."""

    features: Tensor
    arguments: Mapping[str, Any]
    differentiable = False
    """Whether gradients were recorded where the codes went in; some hosts decode without."""

    def __init__(self, host: nn.Module, access: CodeAccess, weights: Tensor):
        self.host, self.access, self.weights = host, access, weights

    @contextmanager
    def attached(self) -> Iterator[None]:
        place, own = self.host.get_submodule, of_this_thread
        handles = [place(self.access.logits.path).register_forward_hook(own(self._on_logits))]
        if self.weights.requires_grad:
            handles += [
                self.host.register_forward_pre_hook(own(self._on_call), with_kwargs=True),
                place(self.access.features).register_forward_hook(own(self._on_features)),
                place(self.access.entry.path).register_forward_pre_hook(own(self._on_entry)),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _on_call(self, host: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.arguments = inspect.signature(host.forward).bind(*positional, **named).arguments

    def _on_features(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        self.features = output.detach()

    def _on_logits(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return self.access.logits.untokens(_SURE * self.weights.detach(), output)

    def _on_entry(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        own = arguments[0]
        self.differentiable = torch.is_grad_enabled()
        codebook = self.access.codebook(self.host)
        soft = self.access.entry.untokens(self.weights.to(codebook) @ codebook, own)
        if self.access.adain is not None and self.access.adain(self.arguments):
            soft = with_moments_of(self.features, soft)
        return (straight_through(own, soft), *arguments[1:])


def _tokens(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, L, D)
