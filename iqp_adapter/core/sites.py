"""Sites: the places of a host at which an adapter adds to its features, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from torch import Tensor

Layout = Literal["BLC", "LBC", "BCHW", "BHWC", "BN"]
"""How a tensor's axes are ordered: batch-first tokens, sequence-first tokens, a map, a map with its channels last, or
tokens in a row (B, L * C)."""

_CHANNELS = {"BLC": 2, "LBC": 2, "BCHW": 1, "BHWC": 3, "BN": 1}
_AXES = {"BLC": 3, "LBC": 3, "BCHW": 4, "BHWC": 4, "BN": 2}


@dataclass(frozen=True)
class Site:
    """A named submodule of the host to whose output (or first argument) an adapter adds.

    Args:
        path: the submodule's name in `host.named_modules()`.
        dim: channels C of a token.
        layout: "BLC" (B, L, C), "LBC" (L, B, C), "BCHW" (B, C, H, W), "BHWC" (B, H, W, C) or "BN" (B, L * C).
        on: whether the submodule's output or its first argument is changed.
        optional: True where the host leaves the submodule out in some ways of calling it.

    Raises:
        ValueError: for another layout, or another word for `on`.
    """

    path: str
    dim: int
    layout: Layout
    on: Literal["output", "input"] = "output"
    optional: bool = False

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout) or self.on not in ("output", "input"):
            raise ValueError(
                f"site {self.path} has layout {self.layout!r} on {self.on!r}; use {', '.join(get_args(Layout))} on "
                f"'output' or 'input'"
            )

    @property
    def key(self) -> str:
        """The site's name in a `ModuleDict`, which takes no dots; the input and the output of a module differ."""
        path = self.path.replace(".", "-")
        return f"{path}@input" if self.on == "input" else path

    def tokens(self, x: Tensor) -> Tensor:
        """The site's tensor in its own layout -> (B, L, C).

        Raises:
            ValueError: where it has another number of axes or channels.
        """
        self._check(x)
        if self.layout == "LBC":
            return x.transpose(0, 1)  # (L, B, C) -> (B, L, C)
        if self.layout == "BCHW":
            return x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, L, C)
        if self.layout == "BHWC":
            return x.flatten(1, 2)  # (B, H, W, C) -> (B, L, C)
        return x.unflatten(-1, (-1, self.dim)) if self.layout == "BN" else x  # (B, L * C) -> (B, L, C)

    def untokens(self, tokens: Tensor, like: Tensor) -> Tensor:
        """(B, L, C) -> the layout, shape and dtype of `like`, the tensor they were made of."""
        tokens = tokens.to(like.dtype)
        if self.layout == "LBC":
            return tokens.transpose(0, 1)  # (B, L, C) -> (L, B, C)
        if self.layout == "BCHW":
            return tokens.transpose(1, 2).reshape(like.shape)  # (B, L, C) -> (B, C, H, W)
        return tokens.reshape(like.shape)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _check(self, x: Tensor) -> None:
        fits = x.ndim == _AXES[self.layout]
        if fits:
            channels = x.shape[_CHANNELS[self.layout]]
            fits = channels % self.dim == 0 if self.layout == "BN" else channels == self.dim
        if not fits:
            raise ValueError(
                f"site {self.path} gave a tensor {tuple(x.shape)}, expected layout {self.layout} with {self.dim} "
                f"channels; correct the site"
            )


def laid_out_as(x: Tensor, changed: Tensor) -> Tensor:
    """`changed` with the strides of `x`, of the same shape: by strides, kernels are chosen that round differently."""
    if changed.stride() == x.stride() or 0 in x.stride():
        return changed
    return changed.new_empty_strided(x.shape, x.stride()).copy_(changed)
