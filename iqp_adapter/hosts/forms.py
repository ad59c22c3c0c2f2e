"""The forms in which a host may come: with layers of others put in, or inside of a module that holds it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from torch import nn
from torch.jit import ScriptModule

_PUT_IN = re.compile(r"\.(base_layer|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
"""Names that stand between a module and its own parameters where another package has put something around it."""

_PARAMETRISED = re.compile(r"\.parametrizations\.(\w+)\.original\d*$")
"""A parameter under torch's parametrisations."""

_ADDED = re.compile(r"\.(lora|vera|oft|hada)_")
"""Parameters that peft adds beside a layer's own."""


def plain_keys(keys: Collection[str]) -> list[str]:
    """Keys of a state dict as the host had them before layers of others (LoRA, parametrisations) were put in."""
    own = (key for key in keys if not _ADDED.search(key))
    return [_PARAMETRISED.sub(r".\1", _PUT_IN.sub("", f".{key}")).removeprefix(".") for key in own]


def host_within(module: nn.Module, kind_of: Callable[[list[str]], str | None]) -> tuple[str, str] | None:
    """The path and the kind of the outermost known host that a module holds; None where it holds none.

    Args:
        kind_of: plain keys -> the name of the kind, if there is one.
    """
    keys = list(module.state_dict())
    for path in sorted((path for path, _ in module.named_modules() if path), key=lambda path: path.count(".")):
        inside = [key[len(path) + 1 :] for key in keys if key.startswith(f"{path}.")]
        if kind := kind_of(plain_keys(inside)):
            return path, kind
    return None


def check_form(module: nn.Module) -> None:
    """Refuses what hooks cannot reach.

    Raises:
        ValueError: for code of TorchScript.
    """
    if isinstance(module, ScriptModule):
        raise ValueError(
            f"this {module.original_name} is compiled by TorchScript, which runs no hooks; wrap the module that it was "
            f"made from"
        )
