"""A host that grows to twice its side: what it learned stays, beside a level at both ends that passes features on.

Most of a restoration is learned at half the side, where a step takes a quarter of the time. Source: progressive growing
(arXiv 1710.10196), without its slow fade: the new levels start as the identity, an average and a repetition of pixels.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from iqp_adapter.store.checkpoint import load_strict

LEVEL = re.compile(r"(encoder\.down|decoder\.up)\.(\d+)")
"""A level in a key of a RestoreFormer; number 0 is that of full size."""


def grown(host: nn.Module, half: nn.Module) -> nn.Module:
    """A new RestoreFormer with what one of half the side has learned.

    Args:
        host: the new one, with one level more; as many channels are on its first two levels.
        half: the trained one.
    """
    learned = {one_deeper(key): value for key, value in half.state_dict().items()}
    fresh = {key: value for key, value in host.state_dict().items() if key not in learned}
    load_strict(host, learned | fresh, source="the host of half the side")
    add_nothing(*host.encoder.down[0].block, *host.decoder.up[0].block)
    average_pixels(host.encoder.down[0].downsample.conv)
    repeat_pixels(host.decoder.up[1].upsample.conv)
    return host


def one_deeper(key: str) -> str:
    return LEVEL.sub(lambda level: f"{level[1]}.{int(level[2]) + 1}", key)


@torch.no_grad()
def add_nothing(*blocks: nn.Module) -> None:
    """Residual blocks become the identity."""
    for block in blocks:
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)


@torch.no_grad()
def average_pixels(conv: nn.Conv2d) -> None:
    """A convolution of stride 2, padded at the right and below, becomes the mean of 2 x 2 pixels."""
    square = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]) / 4
    conv.weight.copy_(torch.einsum("oi,hw->oihw", torch.eye(len(conv.weight)), square))
    nn.init.zeros_(conv.bias)


def repeat_pixels(conv: nn.Conv2d) -> None:
    """A convolution after an enlargement by repeated pixels becomes the identity."""
    nn.init.dirac_(conv.weight)
    nn.init.zeros_(conv.bias)
