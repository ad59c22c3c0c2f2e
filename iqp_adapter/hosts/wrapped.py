"""The wrapped host: an existing restorer with a dial for quality; called as before, it answers as before."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self, Unpack

from ..core.adapter import Adapter
from ..core.codes import Codes
from ..core.device import placed
from ..core.flags import fixed
from ..core.injection import Scale
from ..core.quality import OWN, Asked, Quality, ScoreScale
from ..core.sites import Site
from ..core.tracing import is_traced
from ..pictures import RINGING, as_given, check_images, fit
from ..restorer import Decision, Restorer
from ..scoring.scales import lite_scale
from ..store import hub
from ..store.hub import HubOptions
from ..store.keywords import passes_on
from ..store.publishing import Facts, Publishing, publish
from .attached import Attached, Call
from .card import describe, model_card
from .codes import HostCodes
from .dial import DEFAULT, Dial
from .forms import check_form
from .hooks import check_sites, is_wrapped, tapped, uncompiled
from .loading import load_host, published_for, spec_for
from .notices import Notices
from .retraining import leading_to_codes
from .saved import host_entry, read_adapter, save_adapter
from .spec import CodeAccess, HostSpec
from .unknown import Restore, restored_in_multiples


class Returned(Protocol):
    """What a host's own call returns: a tensor, or a tuple or dictionary of tensors; which one is the host's affair."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


class WrappedHost(Restorer, nn.Module):
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

    Attributes:
        dial: adapters, their weights, and the quality that is set.
        scale: strength where a call names none.
        adapters: by name.
        adapter_weights: by name; what the adapters add is summed with them.
    """

    adapters: Any

    def __init__(self, host: nn.Module, spec: HostSpec, adapter: Adapter):
        super().__init__()
        self.__dict__["_host"] = host  # not in `_modules`: its weights are not ours to save or to train
        self.spec = spec
        self.scale: Scale = 1.0
        self.dial = Dial(spec.dial(self.bare) if spec.dial else None)
        self.adapters, self.adapter_weights = self.dial.adapters, self.dial.weights
        self._notices = Notices(spec, self.bare)
        super().train(host.training)
        self._attached = Attached(self.bare, spec.name, self.dial.own)
        with ExitStack() as undo:
            undo.callback(self._attached.come_off)
            self.add_adapter(DEFAULT, adapter)
            undo.pop_all()

    # -- what it is

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
    def name(self) -> str:
        return self.spec.name

    @property
    def licence(self) -> str:
        return self.spec.licence

    @property
    def resolution(self) -> int | None:
        return self.spec.resolution(self.bare)

    @property
    def device(self) -> torch.device:
        return next(self.host.parameters()).device

    @property
    def takes_quality(self) -> bool:
        return self.dial.learned

    @property
    def takes_adapter(self) -> bool:
        return True

    @property
    def decides_codes(self) -> bool:
        return self.codes is not None or self.spec.decide is not None

    @property
    def score_scale(self) -> ScoreScale | None:
        """That of the metric which conditions an adapter; where none has one, that of iqp-lite."""
        scales = [scale for adapter in self.adapters.values() for scale in adapter.scales]
        return scales[0] if scales else lite_scale()

    @property
    def set_scales(self) -> Mapping[str, ScoreScale]:
        """Those of the adapter that `score_scale` is of."""
        return next((adapter.set_scales for adapter in self.adapters.values() if adapter.scales), {})

    @property
    def own_fidelity(self) -> float | None:
        return self.spec.fidelity(self.bare) if self.spec.fidelity else None

    @property
    def conditioned_on(self) -> tuple[str, ...]:
        metrics = [scale.metric for adapter in self.adapters.values() for scale in adapter.scales]
        own = [] if self.dial.own is None else [self.dial.own.scale.metric]
        return tuple(dict.fromkeys(metrics + own))

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"host": self.spec.name, "weights of adapters": dict(self.adapter_weights), "scale": str(self.scale)}

    def parts(self, quality: Asked = OWN) -> Sequence[nn.Module]:
        wanted = self.quality if quality is OWN else quality
        return (self.bare,) if wanted is None else (self.bare, self.adapters)

    def describe(self) -> str:
        """Sites, sizes, licences, the host's own dial and the default quality, as text."""
        return describe(self.bare, self.spec, self.dial)

    # -- the dial

    @property
    def quality(self) -> Quality | None:
        """What calls ask for that name no quality; None is the bare host, which is "any" where it was retrained.

        Setting it computes what depends on it alone once, at the next call without gradients.
        """
        return self.dial.quality

    @quality.setter
    def quality(self, quality: Quality | None) -> None:
        self.dial.quality = quality

    @property
    def sites(self) -> dict[str, Site]:
        """Every place at which an adapter adds something, by its key."""
        return self.dial.sites

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

    # -- calls

    def forward(self, *arguments: Any, quality: Asked = OWN, scale: Scale | None = None, **named: Any) -> Returned:
        """The host's own call and the host's own returns, at the quality that is asked for.

        Args:
            arguments, named: the host's own.
            quality: a number in [0, 1], a tensor (B,) or (B, S), "best", "any" (no preference), or None (bare host);
                without it `model.quality`.
            scale: strength of what the adapters add; 0 is the bare host.
        """
        self._notices.of_swallowed(named)
        with self._attached.turn, self.conditioned(quality, scale):
            return self.host(*arguments, **named)

    if TYPE_CHECKING:
        __call__ = forward

    @contextmanager
    def conditioned(self, quality: Asked = OWN, scale: Scale | None = None) -> Iterator[None]:
        """Within it, every call of the host itself looks at the quality too, if it is of the same thread (or task)."""
        if quality is OWN and scale is None and self._attached.call is not None:
            yield
        else:
            with self._attached.during(self._called(quality, scale)):
                yield

    @contextmanager
    def as_given(self) -> Iterator[None]:
        """Within it the host is the one that was wrapped: nothing is added, and its parameters are its own."""
        with self._attached.turn:
            within = bool(self.dial.retrained) and not self._attached.stand_ins
            self._attached.put_in({})
            try:
                with self.conditioned(None):
                    yield
            finally:
                self._attached.put_in({} if within else self.dial.retrained)

    @torch.no_grad()
    def restore(
        self,
        lq: Tensor,
        quality: Asked = OWN,
        scale: Scale | None = None,
        fidelity: float | None = None,
        **arguments: Any,
    ) -> Tensor:
        """Restores aligned faces (B, 3, H, W) RGB in [0, 1] of any size -> same shape, dtype and device, in [0, 1].

        Args:
            quality, scale: as for a call.
            fidelity: the host's own weight between detail and likeness, where it has one.
            arguments: others that the `restore` of its host file takes.

        Raises:
            ValueError: for an argument that it does not take, and for pictures of another shape or range.
        """
        arguments = self._asked(arguments | {"fidelity": fidelity})
        with self._attached.turn, self.conditioned(quality, scale):
            restored = restored_in_multiples(
                self.spec.restore, self.host, self._fitted(lq), self.spec.multiple, **arguments
            )
        return as_given(restored.float(), lq)

    def restore_with_codes(
        self, lq: Tensor, quality: Asked = OWN, scale: Scale | None = None, fidelity: float | None = None
    ) -> tuple[Tensor, Codes]:
        """Of a host with a single codebook."""
        decided: list[Tensor] = []

        def look(site: Site, logits: Tensor) -> None:
            decided[:] = [site.tokens(logits).argmax(-1)]  # (B, L)

        with tapped(self.bare, self.codes.logits, look) if self.codes else nullcontext():
            restored = self.restore(lq, quality, scale, fidelity)
        return restored, tuple(decided)

    def check(self, arguments: Mapping[str, Any]) -> None:
        known = list(inspect.signature(self.spec.restore).parameters)[2:]
        for name, value in arguments.items():
            if value is not None and name not in (*known, "quality", "scale"):
                takes = ", ".join(known) or "nothing"
                raise ValueError(f"{name} is {value!r}, but {self.spec.name} has no {name}; it takes {takes}")
        super().check(arguments)

    @property
    def any_layout(self) -> bool:
        return self.spec.any_layout

    def traceable(self) -> AbstractContextManager[None]:
        return self.spec.traceable(self.bare) if self.spec.traceable else nullcontext()

    # -- codes

    @property
    def codes(self) -> CodeAccess | None:
        """Where the host decides its codes; None where it has none, or more than one codebook."""
        return self.spec.codes(self.bare) if self.spec.codes else None

    def codes_in(self, lq: Tensor, **arguments: Any) -> HostCodes:
        """The codes of a host with a single codebook, as `decision`."""
        if self.codes is None:
            raise ValueError(f"{self.spec.name} decides no codes; restore with it, or take a host that does")
        check_images(lq, "lq", beyond=RINGING)
        return HostCodes(self.bare, self.codes, partial(self.spec.restore, self.bare, lq, **arguments))

    def decision(self, lq: Tensor, **arguments: Any) -> Decision:
        """What the host decides for pictures (B, 3, R, R) in [0, 1], in whatever condition it is run.

        Raises:
            ValueError: for a host without codes.
        """
        if self.spec.decide is not None:
            check_images(lq, "lq", beyond=RINGING)
            return Decision(*self.spec.decide(self.bare, lq, **arguments))
        codes = self.codes_in(lq, **arguments)
        return Decision((codes.logits(),), codes.decode)

    @contextmanager
    def deciding(
        self, lq: Tensor, quality: Asked, scale: Scale | None, arguments: dict[str, Any]
    ) -> Iterator[Decision]:
        arguments = self._asked(arguments)
        with self._attached.turn, self.conditioned(quality, scale), fixed(self.bare, self.adapters):
            yield self.decision(self._fitted(lq), **arguments)

    # -- back again

    def unwrap(self) -> nn.Module:
        """Takes every hook off and hands the host back, as it was given."""
        host = self.host
        with self._attached.turn:
            self._attached.come_off()
            self.__dict__["_host"] = None
        return host

    # -- as a module

    def train(self, mode: bool = True) -> WrappedHost:
        """Has the adapters train, and not the host, whose statistics and dropout would change what it answers.

        `eval()`, which is `train(False)`, is for the host as well, as where an unwrapped one is called so.
        """
        super().train(mode)
        self.dial.forget()
        if not mode:
            self._attached.rest()
        return self

    def _apply(self, function: Any, recurse: bool = True) -> WrappedHost:
        with self._attached.turn:
            self.dial.forget()
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

    # -- parts of the above

    @uncompiled
    def _called(self, quality: Asked, scale: Scale | None) -> Call:
        setting = self.dial.setting(quality, self.scale if scale is None else scale)
        if setting is not None and not is_traced():
            training = self.training and torch.is_grad_enabled()
            self._notices.of_condition(self.bare, learned=training or self.dial.learned)
        return Call(setting, learns=setting is not None and torch.is_grad_enabled())

    def _asked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the host's `restore` that are asked for."""
        self.check(arguments)
        return {name: value for name, value in arguments.items() if value is not None}

    def _fitted(self, lq: Tensor) -> Tensor:
        return fit(lq, self.resolution, like=next(self.host.parameters())).contiguous()


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
