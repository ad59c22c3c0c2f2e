"""Parameters that stand in for some of a host's own, and how it gets its own back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class StandIns:
    """What a host has in the place of its own parameters. Its own are kept, untouched, and are given back as they were.

    Args:
        host: the bare module.
    """

    def __init__(self, host: nn.Module):
        self.host = host
        self._own: dict[str, nn.Parameter] = {}

    def __bool__(self) -> bool:
        return bool(self._own)

    def check(self, others: Mapping[str, Tensor]) -> None:
        """Raises ValueError for parameters that the host has not, or has in another shape."""
        own = self.own()
        if wrong := [name for name, other in others.items() if name not in own or own[name].shape != other.shape]:
            raise ValueError(
                f"{type(self.host).__name__} has no {wrong[0]} {tuple(others[wrong[0]].shape)}, which was retrained; "
                f"load it onto the host that it was trained for"
            )

    def put_in(self, others: Mapping[str, nn.Parameter]) -> None:
        """Has these in the place of the host's parameters of the same names, and its own everywhere else.

        They take the device and the dtype of those whose place they take.
        """
        self._take_out()
        if not others:
            return
        here = dict(self.host.named_parameters())
        own = {name: here[name] for name in others}
        for name, other in others.items():
            _move(other, own[name])
        _exchange(self.host, {own[name]: other for name, other in others.items()})
        self._own = own

    def own(self) -> dict[str, nn.Parameter]:
        """The host's own parameters by name, whether or not others are in their place."""
        return dict(self.host.named_parameters()) | self._own

    def own_state(self) -> dict[str, Tensor]:
        """The host's state dict with its own parameters."""
        here = dict(self.host.named_parameters())
        own = {id(here[name]): parameter for name, parameter in self._own.items()}
        return {key: own.get(id(value), value) for key, value in self.host.state_dict(keep_vars=True).items()}

    def _take_out(self) -> None:
        """The host has its own again, on the device where it is by now."""
        if not self._own:
            return
        here = dict(self.host.named_parameters())
        for name, own in self._own.items():
            _move(own, here[name])
        _exchange(self.host, {here[name]: own for name, own in self._own.items()})
        self._own = {}


def _move(parameter: nn.Parameter, like: Tensor) -> None:
    if (parameter.device, parameter.dtype) != (like.device, like.dtype):
        parameter.data = parameter.data.to(like.device, like.dtype)


def _exchange(host: nn.Module, pairs: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Every place of the host that holds one of these parameters holds the other one then."""
    for module in host.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and parameter in pairs:
                setattr(module, name, pairs[parameter])
