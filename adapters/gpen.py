"""GPEN: a StyleGAN2 whose noise inputs are the features of an encoder.

Source: https://github.com/yangxy/GPEN at 2c73670 (`face_model/gpen_model.py`).
Licence: none is stated. Weights: `GPEN-BFR-512.pth` and `GPEN-BFR-256.pth` by its README's links.

The sites are the style code and the encoder's deepest maps. A map of the encoder is the input of the next level and
the generator's noise at once: one site changes both. The image has a gradient to all of them.
"""

from __future__ import annotations

from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import Host, HostSpec, symmetric, to_unit
from iqp_adapter.store.fetch import WeightFile

STORE = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models"
LICENCE = "none stated"
DEEPEST = 3
"""Levels of the encoder that attend."""


def sites(host: Host) -> list[Site]:
    names = [f"ecd{level}" for level in range(levels(host))][-DEEPEST:]
    maps = [Site(name, width(host.get_submodule(name)), "BCHW") for name in names]
    return [Site("final_linear", width(host.final_linear), "BN"), *maps]


def levels(host: Host) -> int:
    return sum(name.startswith("ecd") for name, _ in host.named_children())


def width(block: nn.Module) -> int:
    """Channels that come out of a block: those of its last weight."""
    [*_, last] = (value for key, value in block.state_dict().items() if key.endswith("weight"))
    return int(last.shape[0])


def resolution(host: Host) -> int:
    """The deepest map has 4 x 4 pixels, the first one the picture's size."""
    return int(4 * 2 ** (levels(host) - 1))


def restore(host: Host, lq: Tensor) -> Tensor:
    """The repository's class has returned the picture alone at some commits, and a pair at others."""
    output = symmetric(host, lq)
    return to_unit(output[0] if isinstance(output, tuple) else output)


HOST = HostSpec(
    name="gpen",
    source="https://github.com/yangxy/GPEN",
    licence=LICENCE,
    has=("ecd0.", "ecd1.", "final_linear.", "generator.conv1."),
    parts=("ecd", "final_linear.", "generator."),
    sites=sites,
    resolution=resolution,
    restore=restore,
    weights={
        "gpen-512": WeightFile(f"{STORE}/GPEN-BFR-512.pth", LICENCE),
        "gpen-256": WeightFile(f"{STORE}/GPEN-BFR-256.pth", LICENCE),
    },
)
