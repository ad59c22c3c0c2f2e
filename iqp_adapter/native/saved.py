"""Models of this library, of whichever class, by the name of their checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from typing_extensions import Unpack

from ..core.device import placed
from ..store import checkpoint, hub
from ..store.hub import HubOptions
from ..store.keywords import passes_on
from .iqpir import IQPIR
from .iqpir.model import KIND
from .model import IQPFR
from .pretrained import BUILT_IN


@passes_on(HubOptions)
def from_pretrained(
    name: str | Path = "tiny",
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **options: Unpack[HubOptions],
) -> IQPFR | IQPIR:
    """The model of a checkpoint, as by the `from_pretrained` of its class, whichever that is."""
    folder = hub.resolve(name, prefix=BUILT_IN, **options)
    config, state = checkpoint.load(folder)
    kind: type[IQPFR | IQPIR] = IQPIR if KIND in config else IQPFR
    return placed(kind.of_checkpoint(str(folder), config, state), device, dtype)
