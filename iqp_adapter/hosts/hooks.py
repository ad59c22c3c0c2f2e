"""Hooks on a host, and how it is given back as it was found."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.sites import Site


class Tap:
    """The hook of one site. The host holds a bound method of it, so that a copy of the host copies it as well.

    Args:
        site: where.
        change: (site, its tensor) -> the tensor that takes its place.
    """

    def __init__(self, site: Site, change: Callable[[Site, Tensor], Tensor]):
        self.site, self.change = site, change

    def attach(self, host: nn.Module) -> RemovableHandle:
        module = host.get_submodule(self.site.path)
        if self.site.on == "input":
            return module.register_forward_pre_hook(self._on_input)
        return module.register_forward_hook(self._on_output)

    def _on_output(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        refuse_replicas(module)
        if isinstance(output, tuple):
            return (self.change(self.site, output[0]), *output[1:])
        return self.change(self.site, output)

    def _on_input(self, module: nn.Module, arguments: tuple[Any, ...]) -> Any:
        refuse_replicas(module)
        return (self.change(self.site, arguments[0]), *arguments[1:])


def refuse_replicas(module: nn.Module) -> None:
    """Raises RuntimeError in DataParallel's copies: they share hooks, and run in threads that know of no call."""
    if getattr(module, "_is_replica", False):
        raise RuntimeError(
            "a wrapped host does not run under DataParallel, whose copies share hooks; use DistributedDataParallel"
        )


def check_sites(host: nn.Module, sites: Sequence[Site]) -> Sequence[Site]:
    """The sites, if the host has them all.

    Raises:
        ValueError: names the first that it has not.
    """
    paths = {path for path, _ in host.named_modules()}
    missing = [site.path for site in sites if site.path not in paths]
    if missing:
        raise ValueError(f"{type(host).__name__} has no submodule {missing[0]!r}; list them by host.named_modules()")
    if not sites:
        raise ValueError("no sites, so nothing would be conditioned; give at least one, or sites='auto'")
    return sites


@contextmanager
def tapped(host: nn.Module, site: Site, look: Callable[[Site, Tensor], Any]) -> Iterator[None]:
    """Within it, `look` is shown what passes a site, which stays as it is."""

    def change(site: Site, x: Tensor) -> Tensor:
        look(site, x)
        return x

    handle = Tap(site, change).attach(host)
    try:
        yield
    finally:
        handle.remove()


def of_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, which does nothing in calls that other threads make."""
    own = get_ident()

    @wraps(hook)
    def call(*arguments: Any) -> Any:
        return hook(*arguments) if get_ident() == own else None

    return call


def is_wrapped(host: nn.Module) -> bool:
    """Whether a tap of ours is on the module or in it."""
    hooks = (
        hook
        for module in host.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    )
    return any(isinstance(getattr(hook, "__self__", None), Tap) for hook in hooks)


def given(host: nn.Module, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether a call of the host names this argument, by its name or by its place."""
    return name in inspect.signature(host.forward).bind_partial(*arguments, **named).arguments


def uncompiled(method: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.compiler.disable`, whose import takes a second, from the moment at which something is compiled."""

    @wraps(method)
    def call(*arguments: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return method(*arguments)
        return torch.compiler.disable(method)(*arguments)

    return call


def forget_compiled() -> None:
    """Has everything compiled anew, since compiled code does not notice that hooks come and go."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
