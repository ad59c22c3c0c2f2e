"""Which parameters of a host learn where it is retrained: those that its codes depend on, but the codebook."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..core.flags import Flags


def leading_to(output: Callable[[], Tensor], host: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a host, by name, that have a gradient from what a run of it gives."""
    named = {name: each for name, each in host.named_parameters() if each.is_floating_point()}
    flags = Flags.of(named.items())
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        try:
            for parameter in named.values():
                parameter.requires_grad_(True)
            found = torch.autograd.grad(output().sum(), list(named.values()), allow_unused=True)
        finally:
            flags.thaw(named.items())
    return {name: named[name] for name, gradient in zip(named, found, strict=True) if gradient is not None}
