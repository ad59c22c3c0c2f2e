"""The engine that is torch itself: at another precision, in the memory layout that is faster, compiled if asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core.codes import Codes
from ..core.injection import Scale
from ..core.quality import BEST, OWN, Asked
from ..restorer import Decision, Restorer
from .engine import Engine, refuse_precision
from .facts import Facts

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Eager(Engine):
    """A restorer run by torch. It is brought into the layout in which convolutions are faster, by which the last bits
    of its pictures differ; at 16 bits, torch decides which operations are computed so (autocast).

    Args:
        restorer: it stays usable by itself, in the same layout.
        precision: "fp32", "bf16" or "fp16".
        compiled: compiles it by `torch.compile`, at the first picture of every size of batch, which takes minutes.

    Raises:
        ValueError: for another precision.
    """

    def __init__(self, restorer: Restorer, precision: str = "fp32", compiled: bool = False):
        refuse_precision("torch", precision, PRECISIONS)
        super().__init__(Facts.of(restorer), "torch", precision, restorer.device)
        self.restorer, self.compiled = restorer, compiled
        for part in restorer.parts(BEST):
            if restorer.any_layout and _channels_last_pays(restorer.device, precision):
                _put_channels_last(part)
            if compiled:
                part.compile()

    @property
    def decides_codes(self) -> bool:
        return self.restorer.decides_codes

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**super().settings, "compiled": self.compiled}

    def parts(self, quality: Asked = OWN) -> Sequence[nn.Module]:
        return self.restorer.parts(quality)

    def check(self, arguments: Mapping[str, Any]) -> None:
        self.restorer.check(arguments)

    @torch.no_grad()
    def restore(
        self, lq: Tensor, quality: Asked = OWN, scale: Any = None, fidelity: Any = None, **arguments: Any
    ) -> Tensor:
        with self._running():
            return self.restorer.restore(lq, quality, scale, fidelity, **arguments)

    @torch.no_grad()
    def restore_with_codes(
        self, lq: Tensor, quality: Asked = OWN, scale: Any = None, fidelity: Any = None
    ) -> tuple[Tensor, Codes]:
        with self._running():
            return self.restorer.restore_with_codes(lq, quality, scale, fidelity)

    @contextmanager
    def deciding(
        self, lq: Tensor, quality: Asked, scale: Scale | None, arguments: dict[str, Any]
    ) -> Iterator[Decision]:
        with self._running(), self.restorer.deciding(lq, quality, scale, arguments) as decision:
            yield decision

    @contextmanager
    def _running(self) -> Iterator[None]:
        cast = torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32")
        with cast, self.restorer.traceable():
            yield


def _put_channels_last(module: nn.Module) -> None:
    """Changes where the numbers of convolutions lie, and none of them."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _channels_last_pays(device: torch.device, precision: str) -> bool:
    """On CPUs always, on CUDA for the tensor cores of 16 bits; MPS has no such kernels."""
    return device.type == "cpu" or (device.type == "cuda" and precision != "fp32")
