"""The hooks of a wrapped host: during a conditioned call they add what is asked for, at all other times nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.flags import Flags
from ..core.own_dial import OwnDial
from ..core.sites import Site, laid_out_as
from .dial import Setting
from .hooks import Tap, forget_compiled, given
from .stand_ins import StandIns

_WHOLE, _SCORE = "", "score"
"""Keys of the hooks that are on the host itself: after it has run, and before it, where it takes a score."""


@dataclass(eq=False)
class Call:
    """What is known while a host runs.

    Attributes:
        setting: what is asked for; None is the bare host.
        learns: whether there is a gradient to what is added.
        fired: which sites have run.
        on: the host's hooks, from the beginning of the call to its end.
    """

    setting: Setting | None
    learns: bool = False
    fired: dict[str, bool] = field(default_factory=dict)
    on: Attached | None = None

    def __reduce__(self) -> Any:
        return Call, (None,)  # a copy of a model that is in a call is in none


_CALLS: ContextVar[tuple[Call, ...]] = ContextVar("calls of wrapped hosts", default=())
"""The calls that this thread or task is in, the innermost last. Other threads and tasks have their own."""


class Turn:
    """Lets one thread in at a time, and the same thread in again. A copy of it is a new one."""

    def __init__(self) -> None:
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> Any:
        return Turn, ()


class Attached:
    """Everything that wrapping puts on a host, and how it comes off again.

    A call is known to the thread (or task) that makes it, and to no other: for those the host is bare meanwhile.

    Args:
        host: the bare module.
        name: of its kind, for errors.
        own: the dial that it has itself.

    Attributes:
        turn: held while the host runs and while its hooks change.
        stand_ins: what is in the place of the host's own parameters.
    """

    def __init__(self, host: nn.Module, name: str, own: OwnDial | None):
        self.host, self.name, self.own = host, name, own
        self.turn = Turn()
        self.sites: Mapping[str, Site] = {}
        self.stand_ins = StandIns(host)
        self._found = Flags.of(host.named_parameters())
        self._frozen = False
        self._resting: set[str] = set()
        self._running: set[Call] = set()
        self._handles: dict[str, RemovableHandle] = {_WHOLE: host.register_forward_hook(self._check_fired)}
        if own is not None:
            self._handles[_SCORE] = host.register_forward_pre_hook(self._give_score, with_kwargs=True)
        self._freeze(True)

    @property
    def call(self) -> Call | None:
        """The call that this thread is in; None is the bare host."""
        own = [call for call in _CALLS.get() if call.on is self]
        return own[-1] if own else None

    @contextmanager
    def during(self, call: Call) -> Iterator[None]:
        """Within it this thread is in that call. The call ends with it, in whatever order several are left."""
        call.on = self
        try:
            with self.turn:
                self._running.add(call)
                self._freeze(any(each.learns for each in list(self._running)))
            _CALLS.set((*_CALLS.get(), call))
            yield
        finally:
            call.on = None
            self._running.discard(call)
            _CALLS.set(tuple(each for each in _CALLS.get() if each.on is not None))

    def move_to(self, sites: Mapping[str, Site]) -> None:
        """Has a hook at these sites, by their keys, and nowhere else; where that fails, its hooks are as before."""
        with ExitStack() as undo:
            for key in sites.keys() - self.sites.keys():
                self._handles[key] = Tap(sites[key], self.inject).attach(self.host)
                undo.callback(self._take_off, key)
            undo.pop_all()
        for key in self.sites.keys() - sites.keys():
            self._take_off(key)
        self.sites = dict(sites)
        forget_compiled()

    def put_in(self, others: Mapping[str, nn.Parameter]) -> None:
        """Has these in the place of the host's parameters of the same names, and its own everywhere else."""
        if others or self.stand_ins:
            self.stand_ins.put_in(others)
            forget_compiled()

    def rest(self) -> None:
        """Puts the host in eval mode; those of its modules that were in training mode are woken by `come_off`."""
        self._resting |= {path for path, module in self.host.named_modules() if module.training}
        self.host.eval()

    def come_off(self) -> None:
        """Leaves the host as it was found."""
        for key in list(self._handles):
            self._take_off(key)
        self.stand_ins.put_in({})
        self._found.thaw(self.host.named_parameters())
        for path, module in self.host.named_modules():
            module.training |= path in self._resting
        forget_compiled()

    def _take_off(self, key: str) -> None:
        self._handles.pop(key).remove()

    def _freeze(self, frozen: bool) -> None:
        """The host's own parameters do not learn where something learns; elsewhere they are flagged as they were found.

        Not at all times, since torch multiplies by other kernels where weights need no gradient, even without any: the
        bare host would differ from itself in the last bit.
        """
        if frozen and not self._frozen:
            for parameter in self.stand_ins.own().values():
                parameter.requires_grad_(False)
        elif self._frozen and not frozen:
            self._found.thaw(self.stand_ins.own().items())
        self._frozen = frozen

    def inject(self, site: Site, x: Tensor) -> Tensor:
        """What becomes of a site's tensor."""
        call = self.call
        if call is None or call.setting is None:
            return x
        features = site.tokens(x)
        call.fired[site.key] = True
        deltas = [injection(features) for injection in call.setting.plan.get(site.key, ())]
        return laid_out_as(x, x + site.untokens(sum(deltas[1:], deltas[0]), x)) if deltas else x

    def _give_score(self, host: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Fills in the host's own score, where a quality is asked for and the caller has not given one."""
        call = self.call
        score = None if call is None or call.setting is None else call.setting.score
        if score is None or self.own is None or given(host, self.own.argument, arguments, named):
            return None
        pictures = arguments[0] if arguments else next(iter(named.values()))
        return arguments, named | {self.own.argument: score.to(pictures).expand(len(pictures))}

    def _check_fired(self, host: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        call = self.call
        if call is None or call.setting is None:
            return
        required = {key for key, site in self.sites.items() if not site.optional}
        silent = sorted(self.sites[key].path for key in required - call.fired.keys())
        call.fired.clear()
        if silent:
            raise RuntimeError(
                f"{len(silent)} of {len(self.sites)} sites ({silent[0]}, ...) did not run in this call of {self.name}; "
                f"call it in a way that runs them, or mark them optional"
            )
