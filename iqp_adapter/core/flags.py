"""Which parameters learn: what is changed for a while is given back as it was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

Named = Iterable[tuple[str, nn.Parameter]]
"""Parameters and their names, as `named_parameters` gives them."""


@dataclass(frozen=True)
class Flags:
    """Which parameters of a module learn."""

    requires_grad: Mapping[str, bool]

    @classmethod
    def of(cls, parameters: Named) -> Flags:
        return cls({name: parameter.requires_grad for name, parameter in parameters})

    def thaw(self, parameters: Named) -> None:
        """Lets those parameters learn that did; what has come since is left alone."""
        for name, parameter in parameters:
            parameter.requires_grad_(self.requires_grad.get(name, parameter.requires_grad))


@contextmanager
def fixed(*modules: nn.Module) -> Iterator[None]:
    """Within it none of their parameters learns, so that no graph is built for them."""
    flags = [Flags.of(module.named_parameters()) for module in modules]
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module, found in zip(modules, flags, strict=True):
            found.thaw(module.named_parameters())
