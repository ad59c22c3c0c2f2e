"""Models of this library, of whichever class, by the name of their checkpoint."""

from __future__ import annotations

from pathlib import Path

from ..store import checkpoint, hub
from .iqpir import IQPIR
from .iqpir.model import KIND
from .model import IQPFR


def from_pretrained(name: str | Path = "tiny", revision: str | None = None) -> IQPFR | IQPIR:
    """The model of a checkpoint, in eval mode: "tiny" (ships with the library), a folder, or a Hugging Face Hub id.

    Raises:
        ValueError: for a name that is none of these, a damaged checkpoint, and one of something else.
        OSError: where the checkpoint is not on this machine and cannot be fetched.
    """
    folder = hub.resolve(name, prefix="iqpfr-", revision=revision)
    config, state = checkpoint.load(folder)
    kind = IQPIR if KIND in config else IQPFR
    return kind.of_checkpoint(str(folder), config, state)
