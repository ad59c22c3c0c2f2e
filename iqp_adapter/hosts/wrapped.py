"""The wrapped host: an existing restorer whose features look at the quality that is asked for; nothing else changes."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.adapter import Adapter
from ..core.attention import KeysValues
from ..core.flags import Flags, fixed
from ..core.injection import Injection, Scale, strengths
from ..core.quality import Quality, as_quality
from ..core.sites import Site, laid_out_as
from ..pictures import as_given, fit
from ..restorer import ChoosesCodes, Decision
from ..store import hub
from .card import describe, write_card
from .codes import HostCodes
from .hooks import Tap, forget_compiled, uncompiled
from .saved import load_adapter, save_adapter
from .spec import CodeAccess, HostSpec

logger = logging.getLogger(__name__)

DEFAULT = "default"
"""Stands for `model.quality` where a call names no quality."""

KeysValuesOf = dict[str, dict[str, KeysValues]]
"""Keys and values by the adapter's name and the site's key."""


@dataclass(frozen=True)
class _Call:
    """What is known while the host runs: what is added, by the site's key, and which sites have run."""

    plan: Mapping[str, list[Injection]]
    fired: dict[str, bool] = field(default_factory=dict)


class WrappedHost(ChoosesCodes, nn.Module):
    """A restorer with a dial for quality: called as it always was, it answers as it always did.

        host ── site ── features ──┬───────────────────────────► + ──► on through the host
                                   └─ attend to quality × gate × scale ┘

    Made by `wrap`. Parameters and `state_dict` are the adapters' alone; the host keeps its own and does not learn.
    What is not found here is looked up on the host. One call at a time: a model serves no two threads at once.

    Source: plug-and-play prior of IQPFR (arXiv 2503.09294). Differs: injected by forward hooks, so that no line of the
    host changes.

    Args:
        host: the restorer.
        spec: what is known of its kind.
        adapter: put in as "default".

    Attributes:
        quality: what calls ask for that name no quality; None is the bare host. Setting it computes what depends on it
            alone once, at the next call without gradients.
        scale: strength where a call names none.
        adapters: by name.
        adapter_weights: by name; what the adapters add is summed with them.
    """

    adapters: Any
    adapter_weights: dict[str, float]
    _call: _Call | None
    _kept: tuple[list[tuple[int, int]], KeysValuesOf] | None
    _quality: Quality | None

    def __init__(self, host: nn.Module, spec: HostSpec, adapter: Adapter):
        super().__init__()
        self.__dict__["_host"] = host  # not in `_modules`: its weights are not ours to save or to train
        self.spec = spec
        self.scale: Scale = 1.0
        self.adapters, self.adapter_weights = nn.ModuleDict(), {}
        self._call = self._kept = self._quality = None
        self._swallowed = dict(spec.swallowed(self.bare)) if spec.swallowed else {}
        self._handles: dict[str, RemovableHandle] = {}
        self._found = Flags.of(self.bare)
        self._frozen = False
        self._freeze(True)
        self._handles[""] = self.bare.register_forward_hook(self._check_fired)
        self.put(DEFAULT, adapter)
        super().train(host.training)

    @property
    def host(self) -> nn.Module:
        """The restorer, the very object that was given."""
        if self._host is None:
            raise RuntimeError("this model has handed its host back by unwrap(); wrap the host again")
        return self._host

    @property
    def bare(self) -> nn.Module:
        """The host's own module, where what was given is its compiled form."""
        return getattr(self.host, "_orig_mod", self.host)

    @property
    def quality(self) -> Quality | None:
        return self._quality

    @quality.setter
    def quality(self, quality: Quality | None) -> None:
        if quality is not None:
            for adapter in self.adapters.values():
                _as_rows(quality, adapter)
        self._quality, self._kept = quality, None

    @property
    def sites(self) -> dict[str, Site]:
        """Every place at which an adapter looks at the condition, by its key."""
        return {site.key: site for adapter in self.adapters.values() for site in adapter.sites}

    @property
    def codes(self) -> CodeAccess | None:
        """Where the host decides its codes; None where it has none."""
        return self.spec.codes(self.bare) if self.spec.codes else None

    @property
    def decides_codes(self) -> bool:
        """Whether its codes can be told apart from its picture: sampled, optimised, learned."""
        return self.spec.codes is not None or self.spec.decide is not None

    @property
    def resolution(self) -> int | None:
        """Side of the pictures the host works on, in pixels; None for any size."""
        return self.spec.resolution(self.bare)

    @property
    def device(self) -> torch.device:
        return next(self.host.parameters()).device

    def forward(
        self, *arguments: Any, quality: Quality | None = DEFAULT, scale: Scale | None = None, **named: Any
    ) -> Any:
        """The host's own call and the host's own returns, at the quality that is asked for.

        Args:
            arguments, named: the host's own.
            quality: a number in [0, 1], a tensor (B,) or (B, S), "best", "any" (no preference), or None (bare host);
                without it `model.quality`.
            scale: strength of what the adapters add; 0 is the bare host.
        """
        self._warn_of_swallowed(named)
        with self.conditioned(quality, scale):
            return self.host(*arguments, **named)

    @contextmanager
    def conditioned(self, quality: Quality | None = DEFAULT, scale: Scale | None = None) -> Iterator[None]:
        """Within it, every call of the host itself looks at the quality too."""
        before, self._call = self._call, self._prepared(quality, scale)
        try:
            yield
        finally:
            self._call = before

    @torch.no_grad()
    def restore(
        self,
        lq: Tensor,
        quality: Quality | None = DEFAULT,
        scale: Scale | None = None,
        fidelity: float | None = None,
        **arguments: Any,
    ) -> Tensor:
        """Restores aligned faces (B, 3, H, W) RGB in [0, 1] of any size -> same shape, dtype and device, in [0, 1].

        Args:
            quality, scale: as for a call.
            fidelity: the host's own weight between detail and likeness, where it has one.
            arguments: others that the `restore` of its adapter file takes.

        Raises:
            ValueError: for an argument that it does not take.
        """
        if fidelity is not None:
            arguments["fidelity"] = fidelity
        self.check_restore(arguments)
        fitted = fit(lq, self.resolution, like=next(self.host.parameters()))
        with self.conditioned(quality, scale):
            restored = self.spec.restore(self.host, fitted, **arguments)
        return as_given(restored.float(), lq)

    def decision(self, lq: Tensor, **arguments: Any) -> Decision:
        """What the host decides for pictures (B, 3, R, R) in [0, 1], in whatever condition it is run.

        Raises:
            ValueError: for a host without codes.
        """
        if self.spec.decide is not None:
            return Decision(*self.spec.decide(self.host, lq, **arguments))
        codes = self.codes_in(lq, **arguments)
        return Decision((codes.logits(),), codes.decode)

    def codes_in(self, lq: Tensor, **arguments: Any) -> HostCodes:
        """The codes of a host with a single codebook, as `decision`."""
        if self.codes is None:
            raise ValueError(f"{self.spec.name} decides no codes; restore with it, or take a host that does")
        return HostCodes(self.bare, self.codes, partial(self.spec.restore, self.host, lq, **arguments))

    @contextmanager
    def deciding(
        self, lq: Tensor, quality: Quality | None, scale: Scale | None, arguments: dict[str, Any]
    ) -> Iterator[Decision]:
        arguments = {name: value for name, value in arguments.items() if value is not None}
        self.check_restore(arguments)
        fitted = fit(lq, self.resolution, like=next(self.host.parameters()))
        with self.conditioned(quality, scale), fixed(self.bare, self.adapters):
            yield self.decision(fitted, **arguments)

    def check_restore(self, arguments: Mapping[str, Any]) -> None:
        """Refuses what the `restore` of the host's adapter file does not take, in one line."""
        known = list(inspect.signature(self.spec.restore).parameters)[2:]
        for name in arguments.keys() - known:
            takes = ", ".join(known) or "nothing"
            raise ValueError(f"{name} is {arguments[name]!r}, but {self.spec.name} has no {name}; it takes {takes}")

    def inject(self, site: Site, x: Tensor) -> Tensor:
        """What becomes of a site's tensor in a call."""
        if self._call is None:
            return x
        features = site.tokens(x)
        self._call.fired[site.key] = True
        deltas = [injection(features) for injection in self._call.plan.get(site.key, ())]
        return laid_out_as(x, x + site.untokens(sum(deltas[1:], deltas[0]), x)) if deltas else x

    def put(self, name: str, adapter: Adapter, weight: float = 1.0) -> None:
        """Puts an adapter in; what several add to the same features is summed."""
        if name in self.adapters:
            raise ValueError(f"there is an adapter {name!r} already; choose another name, or remove it first")
        for site in adapter.sites:
            if self.sites.get(site.key, site).on != site.on:
                raise ValueError(f"site {site.path} is an {site.on} here and not in another adapter; make them alike")
        for site in adapter.sites:
            if site.key not in self._handles:
                self._handles[site.key] = Tap(site, self.inject).attach(self.bare)
        self.adapters[name] = adapter.to(self.device).train(self.training)
        self.adapter_weights[name], self._kept = weight, None
        forget_compiled()

    def remove_adapter(self, name: str) -> None:
        """Takes one of several adapters out, and the hooks that it alone needed."""
        if name not in self.adapters or len(self.adapters) == 1:
            raise ValueError(f"can not remove {name!r} of {', '.join(self.adapters)}; for the bare host use unwrap()")
        del self.adapters[name], self.adapter_weights[name]
        for key in self._handles.keys() - self.sites.keys() - {""}:
            self._handles.pop(key).remove()
        self._kept = None
        forget_compiled()

    def add_adapter(
        self, name: str, source: str | Path, weight: float = 1.0, allow_other_weights: bool = False
    ) -> None:
        """Loads one more adapter, from a folder or the Hugging Face Hub; its weight is in `adapter_weights`."""
        self.put(name, load_adapter(source, self.bare, self.spec, allow_other_weights), weight)

    def save_pretrained(
        self, folder: str | Path, adapter: str = DEFAULT, dtype: torch.dtype | None = None, **facts: Any
    ) -> None:
        """Writes an adapter, and nothing of the host; `facts` (training, data, licence, ...) are kept in its config."""
        save_adapter(folder, self.adapters[adapter], self.bare, self.spec, dtype, facts)

    def push_to_hub(
        self,
        repository: str,
        adapter: str = DEFAULT,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        dtype: torch.dtype | None = None,
        **facts: Any,
    ) -> str:
        """Uploads an adapter to the Hugging Face Hub, with a model card.

        Args:
            repository: "owner/name"; made where it is missing.
            private, token, revision: as for `hub.push`.
            facts: as for `save_pretrained`; `card.model_card` says which have a place of their own in the card.

        Returns:
            The commit's address.

        Raises:
            ValueError: for an adapter that has learned nothing.
            OSError: where the Hub can not be reached, or refuses.
        """
        if not self.adapters[adapter].learned:
            raise ValueError(f"adapter {adapter!r} has learned nothing (every gate is closed); train it, then push it")
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, adapter, dtype, **facts)
            write_card(folder, repository)
            return hub.push(folder, repository, private=private, token=token, revision=revision)

    def describe(self) -> str:
        """Sites, sizes, licences and the default quality, as text."""
        return describe(self.bare, self.spec, self.adapters, self.quality)

    def unwrap(self) -> nn.Module:
        """Takes every hook off and hands the host back, as it was given."""
        host = self.host
        for handle in self._handles.values():
            handle.remove()
        self._found.give_back(self.bare)
        self._handles, self.__dict__["_host"] = {}, None
        forget_compiled()
        return host

    def train(self, mode: bool = True) -> WrappedHost:
        super().train(mode)
        self._kept = None
        self.host.train(mode)
        return self

    def _apply(self, function: Any, recurse: bool = True) -> WrappedHost:
        self._kept = None
        self.host._apply(function, recurse)
        return super()._apply(function, recurse)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or self.__dict__.get("_host") is None:
                raise
            return getattr(self.__dict__["_host"], name)

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "a wrapped host does not run under DataParallel, whose copies share hooks; use DistributedDataParallel"
        )

    @uncompiled
    def _prepared(self, quality: Quality | None, scale: Scale | None) -> _Call | None:
        fixed = isinstance(quality, str) and quality == DEFAULT
        if fixed and scale is None and self._call is not None:
            return self._call
        call = self._call_for(quality, scale, fixed)
        self._freeze(call is not None and torch.is_grad_enabled())
        return call

    def _call_for(self, quality: Quality | None, scale: Scale | None, fixed: bool) -> _Call | None:
        wanted, scale = self.quality if fixed else quality, self.scale if scale is None else scale
        if wanted is None or (isinstance(scale, (int, float)) and scale == 0):
            return None
        self._warn_of_untrained()
        keys_values = (
            self._kept_keys_values(wanted) if fixed and not torch.is_grad_enabled() else self._keys_values(wanted)
        )
        return _Call(self._plan(keys_values, scale))

    def _plan(self, keys_values: KeysValuesOf, scale: Scale) -> dict[str, list[Injection]]:
        sites = self.sites
        plan: dict[str, list[Injection]] = {key: [] for key in sites}
        strength = strengths(scale, sites, like=next(self.parameters()))
        for name, adapter in self.adapters.items():
            weight = self.adapter_weights[name]
            for key, block in adapter.blocks.items() if weight else ():
                plan[key].append(Injection(block, keys_values[name][key], weight * strength[key]))
        return plan

    def _keys_values(self, quality: Quality) -> KeysValuesOf:
        with torch.autocast(self.device.type, enabled=False):
            return {
                name: adapter.keys_values(_as_rows(quality, adapter).to(adapter.embedding.base.dtype))
                for name, adapter in self.adapters.items()
            }

    def _kept_keys_values(self, quality: Quality) -> KeysValuesOf:
        """Those of `model.quality`, computed when it or a parameter has changed, as tensors that any mode can use."""
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.adapters.parameters()]
        if self._kept is None or self._kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = (state, self._keys_values(quality))
        return self._kept[1]

    def _freeze(self, frozen: bool) -> None:
        """The host does not learn where something learns; elsewhere its parameters are flagged as they were found.

        Not at all times, since torch multiplies by other kernels where weights need no gradient, even without any: the
        bare host would differ from itself in the last bit.
        """
        if frozen and not self._frozen:
            self.bare.requires_grad_(False)
        elif self._frozen and not frozen:
            self._found.thaw(self.bare)
        self._frozen = frozen

    def _check_fired(self, host: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        if self._call is None:
            return
        required = {site.path for site in self.sites.values() if not site.optional}
        silent = sorted(required - {self.sites[key].path for key in self._call.fired})
        self._call.fired.clear()
        if silent:
            raise RuntimeError(
                f"{len(silent)} of {len(self.sites)} sites ({silent[0]}, ...) did not run in this call of "
                f"{self.spec.name}; call it in a way that runs them, or mark them optional"
            )

    def _warn_of_swallowed(self, named: Mapping[str, Any]) -> None:
        for name in named.keys() & self._swallowed.keys():
            logger.warning("%s takes %r and does nothing with it: %s", self.spec.name, name, self._swallowed.pop(name))

    def _warn_of_untrained(self) -> None:
        if "untrained" in self.__dict__ or (self.training and torch.is_grad_enabled()):
            return
        if not any(adapter.learned for adapter in self.adapters.values()):
            self.__dict__["untrained"] = True
            logger.warning(
                "the adapter of this %s has learned nothing yet, so it answers as the bare host; train one, or load "
                "one by wrap(host, adapter=...)",
                self.spec.name,
            )


def _as_rows(quality: Quality, adapter: Adapter) -> Tensor:
    """What was asked for -> (1, S), or (B, S) where every image has its own."""
    if not isinstance(quality, str):
        quality = torch.as_tensor(quality)
    rows = len(quality) if isinstance(quality, Tensor) and quality.ndim else 1
    return as_quality(quality, rows, adapter.metrics, adapter.device)
