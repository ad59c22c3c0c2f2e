"""A host under a dial: called as before it answers as before, and at a quality where one is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..core.codes import Codes
from ..core.flags import fixed
from ..core.injection import Scale
from ..core.quality import OWN, Asked, Quality, ScoreScale
from ..core.sites import Site
from ..core.tracing import is_traced
from ..pictures import RINGING, as_given, check_images, fit
from ..restorer import Decision, Restorer
from ..scoring.scales import lite_scale
from .attached import Attached, Call
from .card import describe
from .codes import HostCodes
from .dial import Dial
from .hooks import tapped, uncompiled
from .notices import Notices
from .spec import CodeAccess, HostSpec
from .unknown import restored_in_multiples


class Returned(Protocol):
    """What a host's own call returns: a tensor, or a tuple or dictionary of tensors; which one is the host's affair."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


class DialledHost(Restorer, nn.Module):
    """A host with hooks on it, through which the adapters of its dial add to its features.

    It does what every restorer does, and passes on what else the host can. `WrappedHost` puts adapters on the dial.

    Args:
        host: the restorer.
        spec: what is known of its kind.

    Attributes:
        dial: adapters, their weights, and the quality that is set.
        scale: strength where a call names none.
        adapters: by name.
        adapter_weights: by name; what the adapters add is summed with them.
    """

    adapters: Any

    def __init__(self, host: nn.Module, spec: HostSpec):
        super().__init__()
        self.__dict__["_host"] = host  # not in `_modules`: its weights are not ours to save or to train
        self.spec = spec
        self.scale: Scale = 1.0
        self.dial = Dial(spec.dial(self.bare) if spec.dial else None)
        self.adapters, self.adapter_weights = self.dial.adapters, self.dial.weights
        self._notices = Notices(spec, self.bare)
        super().train(host.training)
        self._attached = Attached(self.bare, spec.name, self.dial.own)

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

    def train(self, mode: bool = True) -> Self:
        """Has the adapters train, and not the host, whose statistics and dropout would change what it answers.

        `eval()`, which is `train(False)`, is for the host as well, as where an unwrapped one is called so.
        """
        super().train(mode)
        self.dial.forget()
        if not mode:
            self._attached.rest()
        return self

    def _apply(self, function: Any, recurse: bool = True) -> Self:
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
