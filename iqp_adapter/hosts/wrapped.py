"""The wrapped host: an existing restorer with a dial for quality, its adapters, and how they are loaded and saved."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from typing_extensions import Self, Unpack

from ..core.adapter import Adapter
from ..core.device import placed
from ..store import hub
from ..store.hub import HubOptions
from ..store.keywords import passes_on
from ..store.publishing import Facts, Publishing, publish
from .card import model_card
from .dial import DEFAULT
from .dialled import DialledHost
from .forms import check_form
from .hooks import check_sites, is_wrapped
from .loading import load_host, published_for, spec_for
from .retraining import leading_to_codes
from .saved import host_entry, read_adapter, save_adapter
from .spec import HostSpec
from .unknown import Restore


class WrappedHost(DialledHost):
    """A restorer with a dial for quality.

        host ── site ── features ──┬────────────────────► + ──► on through the host
                                   └─ block, quality × scale ┘

    Made by `wrap`. Parameters and `state_dict` are the adapters' alone; the host keeps its own and does not learn. Only
    where `retrain` was called, or a retrained host is loaded, what leads to its codes learns as well: it is part of the
    adapter, and stands in for the host's own parameters until `unwrap`.
    What is not found here is looked up on the host. Threads may share a model: their calls take turns, each at the
    quality that it names, and a call of the host itself by another thread is bare. The mode of the host is its owner's:
    `train()` is for the adapters alone, `eval()` for both.

    Source: this project, after the plug-and-play idea of IQPFR (arXiv 2503.09294). Differs: its authors train encoder
    and Transformer of the host anew, with a score map, which is what `retrain` is for; by default the host stays as it
    is, and forward hooks add to its features, so that no line of its code and no number of its weights changes.

    Args:
        host: the restorer.
        spec: what is known of its kind.
        adapter: added as "default".
    """

    def __init__(self, host: nn.Module, spec: HostSpec, adapter: Adapter):
        super().__init__(host, spec)
        with ExitStack() as undo:
            undo.callback(self._attached.come_off)
            self.add_adapter(DEFAULT, adapter)
            undo.pop_all()

    # -- adapters

    @passes_on(HubOptions)
    def add_adapter(
        self,
        name: str,
        source: str | Path | Adapter,
        weight: float = 1.0,
        allow_other_weights: bool = False,
        **options: Unpack[HubOptions],
    ) -> None:
        """Adds an adapter; what several add to the same features is summed, by their weights in `adapter_weights`.

        Args:
            source: an adapter, a folder of a saved one, or its id on the Hugging Face Hub.
            allow_other_weights: loads it although it was trained on other weights of the same shapes.
            options: of the Hub, see `store.hub.HubOptions`.

        Raises:
            ValueError: for a name that is taken or cannot be one, a weight that is no number, and an adapter that does
                not fit. The model is as before then.
        """
        self.dial.check(name, weight)
        self.dial.check_alone(retrained=False)
        if not isinstance(source, Adapter):
            source = read_adapter(source, **options).fitted(self.bare, self.spec, allow_other_weights)
        self.dial.check_alone(bool(source.retrained))
        self._attached.stand_ins.check(source.retrained.named())
        check_sites(self.bare, source.sites)
        with self._attached.turn:
            adapter = source.to(self.device).train(self.training)
            self._attached.move_to(self.sites | {site.key: site for site in source.sites})
            self.dial.add(name, adapter, weight)
            self._attached.put_in(self.dial.retrained)

    def remove_adapter(self, name: str) -> None:
        """Removes one of several adapters, and the hooks that it alone needed."""
        with self._attached.turn:
            self.dial.remove(name)
            self._attached.move_to(self.sites)

    def exchange_adapter(self, name: str, adapter: Adapter) -> None:
        """Puts an adapter in the place of one with the same sites."""
        with self._attached.turn:
            self.adapters[name] = adapter
            self.dial.forget()
            self._attached.put_in(self.dial.retrained)

    def retrain(self) -> None:
        """Has what leads to the host's codes learn together with its adapter, from the host's own values on.

        That is all of a code host but its codebook and what comes behind the codes. Until `unwrap` copies stand in for
        those parameters, in every call of the host, and `parameters`, `state_dict` and `save_pretrained` have them too.
        "any", None and `scale=0` are then one thing: the retrained host, to which nothing is added.

        Raises:
            ValueError: for a host without a single codebook, and for one that has several adapters or is retrained.
        """
        if len(self.adapters) > 1 or self.dial.retrained:
            raise ValueError("a host is retrained once, with a single adapter; wrap it again for that")
        with self.as_given():
            [adapter] = self.adapters.values()
            adapter.retrain(leading_to_codes(self.bare, self.spec))

    # -- loaded and saved

    @classmethod
    @passes_on(HubOptions)
    def from_pretrained(
        cls,
        name: str | Path,
        host: Any = None,
        *,
        kind: str | None = None,
        into: nn.Module | None = None,
        restore: Restore | None = None,
        allow_other_weights: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[HubOptions],
    ) -> Self:
        """Loads a trained adapter onto its host, in eval mode; what is asked for is then "best".

        It is `wrap(host, adapter=name)`, but that the host may be left out.

        Args:
            name: folder or Hub id of the adapter.
            host: as `wrap` takes it; by default the published weights of the kind that the adapter was trained for.
            kind, into, restore, allow_other_weights, device, dtype, options: as for `wrap`.

        Raises:
            ValueError: where the adapter does not fit the host, or no host is given and none is published.
            OSError: where something is not on this machine and cannot be fetched.
        """
        of_host, of_adapter = hub.of_each(name, options)
        adapter = read_adapter(name, **of_adapter)
        module = load_host(published_for(adapter) if host is None else host, kind, into, **of_host)
        bare = getattr(module, "_orig_mod", module)
        check_host(bare)
        spec = spec_for(adapter, bare, kind, restore)
        wrapped = cls(module, spec, adapter.fitted(bare, spec, allow_other_weights)).eval()
        wrapped.quality = "best"
        return placed(wrapped, device, dtype)

    @passes_on(Facts)
    def save_pretrained(
        self,
        save_directory: str | Path,
        adapter: str = DEFAULT,
        *,
        dtype: torch.dtype | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        """Writes an adapter, and nothing of the host but what was retrained.

        Args:
            dtype: of every tensor; by default that of the adapter, and float16 for what was retrained.
            facts: kept in its config, see `store.publishing.Facts`.

        Raises:
            ValueError: for numbers that the dtype does not have.
        """
        save_adapter(save_directory, self.adapters[adapter], self._entry(), dtype, facts)

    @passes_on(Publishing)
    def push_to_hub(
        self,
        repo_id: str,
        adapter: str = DEFAULT,
        *,
        dtype: torch.dtype | None = None,
        **options: Unpack[Publishing],
    ) -> str:
        """Uploads an adapter to the Hugging Face Hub, with a model card.

        Args:
            repo_id: "owner/name"; made where it is missing.
            dtype: as for `save_pretrained`.
            options: of the upload, and facts; see `store.publishing.Upload` and `Facts`.

        Returns:
            The commit's address.

        Raises:
            ValueError: for an adapter that has learned nothing.
            OSError: where the Hub cannot be reached, or refuses.
        """
        if not self.adapters[adapter].learned:
            raise ValueError(f"adapter {adapter!r} has learned nothing (every block adds zero); train it, then push it")
        return publish(repo_id, partial(self.save_pretrained, adapter=adapter, dtype=dtype), model_card, options)

    def _entry(self) -> dict[str, Any]:
        return host_entry(self.bare, self.spec, self._attached.stand_ins.own_state())


def check_host(host: nn.Module) -> None:
    """Refuses what is wrapped already, and forms that cannot be.

    Raises:
        ValueError: says what to wrap instead.
    """
    wrapper = next((path for path, module in host.named_modules() if isinstance(module, WrappedHost)), None)
    if wrapper is not None or is_wrapped(host):
        where = f"the .{wrapper} of this" if wrapper else "this"
        raise ValueError(f"{where} {type(host).__name__} is wrapped already; use its wrapper, or unwrap() it first")
    check_form(host)
