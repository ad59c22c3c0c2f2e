"""Restorers that are small and act: a native model, and a convolution with a dial."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.native import IQPFR, IQPFRConfig
from iqp_adapter.restorer import Restorer

SMALL = IQPFRConfig(
    resolution=32, patch=2, widths=(16, 24), encoder_blocks=1, decoder_blocks=1, common_codes=12, plus_codes=6,
    code_dim=8, dim=32, layers=2, heads=4, fused_levels=(0,), token_dim=16,
)  # fmt: skip


SCALE = ScoreScale.fit("iqp-lite", False, torch.linspace(0, 100, 11))


def acting(config: IQPFRConfig, seed: int = 0, scale: ScoreScale = SCALE) -> IQPFR:
    """What starts at zero is drawn, so that quality and fidelity change pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = IQPFR(config, scale)
        finish = (built.finish.leave, built.finish.condition) if built.finish else ()
        for layer in (built.transformer.refine, *(fusion.modulate for fusion in built.fusions.values()), *finish):
            torch.nn.init.normal_(layer.weight, std=0.1)
    return built.eval()


class Plain(Restorer, nn.Module):
    """A convolution whose output grows with the quality.

    Args:
        side: of its pictures, in pixels; None for any.
    """

    def __init__(self, seed: int = 0, side: int | None = 16):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.side = side

    @property
    def resolution(self) -> int | None:
        return self.side

    @torch.no_grad()
    def restore(
        self, lq: Tensor, quality: Any = 0.5, scale: Any = None, fidelity: Any = None, **arguments: Any
    ) -> Tensor:
        weight = torch.as_tensor(0.5 if quality is None else quality).nan_to_num(0.5).reshape(-1, 1, 1, 1)
        return self.changed(self.convolution(lq) * weight).sigmoid()

    def changed(self, x: Tensor) -> Tensor:
        return x
