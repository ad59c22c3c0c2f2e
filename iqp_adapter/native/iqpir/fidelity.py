"""Whether the fidelity path of an IQPIR can be used: asked of its parts, so of our instances and the authors'."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ...core.tracing import is_traced


def paints_holes(fused: Iterable[int], resolution: int) -> bool:
    """Whether the sizes are those for inpainting, which fuse at no side above a quarter of the picture's.

    Such a model is called without AdaIN and at full fidelity, as its authors do.
    """
    sides = list(fused)
    return bool(sides) and max(sides) * 4 <= resolution


@torch.no_grad()
def is_trained(fusions: nn.Module) -> bool:
    """Whether the fidelity path was trained.

    Training for faces never reaches it, so that it is as it was initialised: the norms have weight 1 and bias 0. Any
    other value of them was learned.
    """
    norms = [module for module in fusions.modules() if isinstance(module, nn.GroupNorm)]
    return any(bool((norm.weight != 1).any() or (norm.bias != 0).any()) for norm in norms)


def refuse_untrained(fusions: nn.Module, fidelity: float | Tensor) -> None:
    """Raises ValueError for a fidelity above 0 where the fidelity path was never trained."""
    if not is_traced() and bool((torch.as_tensor(fidelity) > 0).any()) and not is_trained(fusions):
        raise ValueError(
            f"fidelity is {fidelity}, but the fidelity path of this IQPIR was never trained (its norms are as they "
            f"were initialised), so that it would add noise; leave it out, or 0"
        )
