"""GPEN: a StyleGAN2 whose noise inputs are the features of an encoder.

Source: https://github.com/yangxy/GPEN at 2c73670 (`face_model/gpen_model.py`).
Licence: none is stated. Weights: `GPEN-BFR-512.pth` and `GPEN-BFR-256.pth` by its README's links.

The sites are the style code and the encoder's deepest maps. A map of the encoder is the input of the next level and
the generator's noise at once: one site changes both. The image has a gradient to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import Host, HostSpec, symmetric, to_unit
from iqp_adapter.store.fetch import WeightFile

STORE = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models"
LICENCE = "none stated"
WAY = "put the folder face_model of https://github.com/yangxy/GPEN on PYTHONPATH"
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


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """The repository's class, where its folder `face_model` can be imported from; sizes from the shapes."""
    try:
        from gpen_model import FullGenerator
    except ImportError as error:
        raise ImportError(f"GPEN's class cannot be imported ({error}); {WAY}") from error
    return FullGenerator(**sizes(state), device="cpu")


def sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """At its end the encoder has 512 * `narrow` channels, at its start 16384 / side times the multiplier and `narrow`,
    where no side below 64 px depends on the multiplier."""
    levels = len({key.split(".")[0] for key in state if key.startswith("ecd")})
    side, style = 4 * 2 ** (levels - 1), state["final_linear.0.weight"]
    first, last = state["ecd0.0.0.weight"].shape[0], style.shape[1] // 16
    return {
        "size": side,
        "style_dim": style.shape[0],
        "n_mlp": sum(key.startswith("generator.style.") and key.endswith("weight") for key in state),
        "channel_multiplier": round(first * side / 16384 / last * 512) if side >= 64 else 2,
        "narrow": last / 512,
    }


HOST = HostSpec(
    name="gpen",
    source="https://github.com/yangxy/GPEN",
    licence=LICENCE,
    has=("ecd0.", "ecd1.", "final_linear.", "generator.conv1."),
    parts=("ecd", "final_linear.", "generator."),
    sites=sites,
    resolution=resolution,
    restore=restore,
    build=build,
    classes={"gpen_model": WAY},
    weights={
        "gpen-512": WeightFile(f"{STORE}/GPEN-BFR-512.pth", LICENCE),
        "gpen-256": WeightFile(f"{STORE}/GPEN-BFR-256.pth", LICENCE),
    },
)
