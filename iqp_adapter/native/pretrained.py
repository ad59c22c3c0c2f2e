"""What every model of this library can: be loaded from a folder or the Hub, be saved, and be pushed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self, Unpack

from ..core.device import placed
from ..restorer import Restorer
from ..store import checkpoint, hub
from ..store.hub import HubOptions
from ..store.keywords import passes_on
from ..store.publishing import Facts, Publishing, facts_of, publish
from .card import model_card

BUILT_IN = "iqpfr-"
"""Start of the names of the package's folders with models."""


class Pretrained(Restorer, nn.Module):
    """A model of this library, whose checkpoint holds all that is needed to build it.

    Attributes:
        facts: what is told of its making, by the names of `store.publishing.Facts`; saved with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, Any] = {}

    @classmethod
    def of_checkpoint(cls, source: str, config: dict[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The model of a checkpoint that is read, in eval mode; `source` is its name, for messages."""
        raise NotImplementedError

    def to_config(self) -> dict[str, Any]:
        """All that is needed to build it again, as JSON can hold."""
        raise NotImplementedError

    @classmethod
    @passes_on(HubOptions)
    def from_pretrained(
        cls,
        name: str | Path = "tiny",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[HubOptions],
    ) -> Self:
        """Loads a model in eval mode: "tiny" (the IQPFR that ships with the library), a folder, or a Hub id.

        Args:
            device: where it is to run; by default the CPU.
            dtype: of its weights, in which it computes; by default float32, whatever they were saved in.
            options: of the Hugging Face Hub, see `store.hub.HubOptions`.

        Raises:
            ValueError: for a name that is none of these, a damaged checkpoint, and one of something else.
            OSError: where the checkpoint is not on this machine and cannot be fetched.
        """
        folder = hub.resolve(name, prefix=BUILT_IN, **options)
        return placed(cls.of_checkpoint(str(folder), *checkpoint.load(folder)), device, dtype)

    @classmethod
    def _built(
        cls, build: Callable[[], Self], source: str, config: dict[str, Any], state: Mapping[str, Tensor]
    ) -> Self:
        weights = {key: value.float() for key, value in state.items()}
        model = checkpoint.load_built(build, weights, source=source).eval()
        model.facts = facts_of(config, model.to_config())
        return model

    @passes_on(Facts)
    def save_pretrained(
        self, save_directory: str | Path, *, dtype: torch.dtype = torch.float32, **facts: Unpack[Facts]
    ) -> None:
        """Writes config.json and model.safetensors.

        Args:
            dtype: of the weights in the file.
            facts: kept in the config, see `store.publishing.Facts`.
        """
        state = {key: value.to(dtype) for key, value in self.state_dict().items()}
        checkpoint.save(save_directory, state, {**self.to_config(), **self.facts, **facts})

    @passes_on(Publishing)
    def push_to_hub(self, repo_id: str, *, dtype: torch.dtype = torch.float32, **options: Unpack[Publishing]) -> str:
        """Uploads the model to the Hugging Face Hub, with a model card.

        Args:
            repo_id: "owner/name"; made where it is missing.
            dtype: of the weights in the file.
            options: of the upload, and facts; see `store.publishing.Upload` and `Facts`.

        Returns:
            The commit's address.

        Raises:
            OSError: where the Hub cannot be reached, or refuses.
        """
        return publish(repo_id, partial(self.save_pretrained, dtype=dtype), partial(model_card, self), options)
