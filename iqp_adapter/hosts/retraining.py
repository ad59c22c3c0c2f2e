"""Which parameters of a host learn where it is retrained: those that its codes depend on, but the codebook."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..core.flags import Flags
from .codes import HostCodes
from .spec import HostSpec


def leading_to_codes(host: nn.Module, spec: HostSpec) -> dict[str, nn.Parameter]:
    """The parameters by name, told by a dry run on a grey picture.

    Raises:
        ValueError: for a host without a single codebook.
    """
    access = spec.codes(host) if spec.codes else None
    if access is None:
        raise ValueError(f"{spec.name} has no single codebook to decide from, so that nothing leads to its codes")
    side, codebook = spec.resolution(host) or 64, access.codebook(host)
    grey = torch.full((1, 3, side, side), 0.5).to(next(host.parameters()))
    found = leading_to(HostCodes(host, access, partial(spec.restore, host, grey)).logits, host)
    return {name: parameter for name, parameter in found.items() if parameter is not codebook}


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
