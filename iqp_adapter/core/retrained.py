"""Parameters of a host that learn together with its adapter, under the names that they have in the host."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Retrained(nn.Module):
    """Copies of parameters, in a tree of the host's names. Without any, the host stays as it is.

    Args:
        parameters: of the host, by their names there.
    """

    def __init__(self, parameters: Mapping[str, Tensor] | None = None):
        super().__init__()
        with torch.inference_mode(False):
            for name, value in (parameters or {}).items():
                path, _, last = name.rpartition(".")
                _place(self, path).register_parameter(last, nn.Parameter(value.detach().clone()))

    def named(self) -> dict[str, nn.Parameter]:
        """Every parameter by its name in the host."""
        return dict(self.named_parameters())

    def parts(self) -> list[str]:
        """The first names of the parameters, such as "encoder"."""
        return sorted({name.partition(".")[0] for name in self.named()})

    def __bool__(self) -> bool:
        return bool(self._modules or self._parameters)


def _place(root: nn.Module, path: str) -> nn.Module:
    """The module at a path, made where there is none."""
    for part in path.split(".") if path else ():
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root
