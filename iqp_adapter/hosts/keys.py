"""Keys of a restorer's weights, as files have them: beside what training adds, under names that wrap them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

ASIDE = ("loss", "criterion", "perceptual", "lpips", "disc", "discriminator", "net_d", "netD", "critic", "metric")
"""First names of what training keeps beside a restorer: losses, discriminators, metrics."""

AVERAGED = ("ema_model", "model_ema", "net_g_ema", "netG_ema", "generator_ema", "g_ema", "ema")
"""First names of averaged weights (EMA)."""

LORA = ".base_layer."
"""What PEFT puts into the keys of a layer that got LoRA weights beside its own."""


def first(key: str) -> str:
    return key.partition(".")[0]


def is_aside(key: str) -> bool:
    return first(key) in ASIDE or first(key).endswith("_loss")


def readings(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """A state as it is; then, again and again, without the first name that all keys of the restorer share.

    Averaged weights are taken in place of those that have the same keys.
    """
    reading = dict(state)
    while reading:
        yield reading
        start = f"{_chosen(reading)}."
        reading = {key.removeprefix(start): value for key, value in reading.items() if key.startswith(start)}


def _chosen(state: Collection[str]) -> str | None:
    """The one first name under which the restorer is, if there is one."""
    inner: dict[str, set[str]] = {}
    for key in state:
        if not is_aside(key):
            inner.setdefault(first(key), set()).add(key.partition(".")[2])
    averaged = [name for name in AVERAGED if name in inner]
    own = [name for name in inner if name not in averaged] or averaged
    twins = [ema for ema in averaged if any(inner[name] == inner[ema] for name in own)]
    return twins[0] if twins else own[0] if len(own) == 1 else None
