"""The discrete codes of a wrapped host, whichever it is: read while it runs, which ends as soon as they are known."""

from __future__ import annotations

import torch
from torch import Tensor

from .host import CodeAccess
from .wrapped_host import WrappedHost


class _Enough(Exception):  # noqa: N818 - nothing is wrong
    """Leaves the host's forward early."""


def code_logits(model: WrappedHost, lq: Tensor) -> Tensor:
    """Code logits (B, L, K) of pictures (B, 3, R, R) in [0, 1], in the call's own condition; the decoder does not run.

    Raises:
        ValueError: for a host without codes.
    """
    access = _access(model)
    return access.logits.tokens(_output_of(model, access.logits.path, lq))


@torch.no_grad()
def codes_of(model: WrappedHost, pictures: Tensor) -> Tensor:
    """Indices (B, L) of the codes nearest to what the host's encoder makes of pictures (B, 3, R, R) in [0, 1]."""
    access = _access(model)
    features = _output_of(model, access.features, pictures).flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, L, D)
    return torch.cdist(features.float(), access.codebook(model.bare).float()[None]).argmin(-1)


def _access(model: WrappedHost) -> CodeAccess:
    if model.codes is None:
        raise ValueError(f"{model.spec.name} decides no codes; train its adapter on pictures")
    return model.codes


def _output_of(model: WrappedHost, path: str, lq: Tensor) -> Tensor:
    """What a submodule gives while the host restores, which ends there."""
    caught: list[Tensor] = []

    def catch(module: torch.nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        caught.append(output)
        raise _Enough

    handle = model.bare.get_submodule(path).register_forward_hook(catch)
    try:
        model.spec.restore(model.host, lq)
    except _Enough:
        return caught[0]
    finally:
        handle.remove()
    raise RuntimeError(f"{path} did not run in {model.spec.name}; its adapter file names another place")
