"""CodeFormer: codes of a face predicted by a Transformer, with a fidelity weight `w`.

Source: https://github.com/sczhou/CodeFormer at b33cc7d (`basicsr/archs/codeformer_arch.py`), of which spandrel and the
packages codeformer, codeformer-pip, codeformer-perceptor and vscodeformer hold copies with equal keys and shapes.
Licence: S-Lab License 1.0, non-commercial, code and weights. Weights: `codeformer.pth` of its release v0.1.0, and
two of the same class for other tasks.

The sites are the generator's attention blocks, behind the codes, to which the image has a gradient. From the
Transformer's layers an adapter steers the codes instead: an arg-max, so that it learns through their logits. On the
small CodeFormer of `benchmarks/hosts` its dial hardly moves from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import CodeAccess, Host, HostSpec, symmetric, takes, to_unit, weight_of
from iqp_adapter.store.fetch import WeightFile

RELEASE = "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0"
LICENCE = "S-Lab License 1.0 (non-commercial)"


def sites(host: Host) -> list[Site]:
    """Optional, since a call with `code_only` decodes nothing."""
    attending = {index: block for index, block in enumerate(host.generator.blocks) if hasattr(block, "q")}
    return [
        Site(f"generator.blocks.{index}", block.q.out_channels, "BCHW", optional=True)
        for index, block in attending.items()
    ]


def code_sites(host: Host) -> list[Site]:
    dim = host.feat_emb.out_features
    return [Site(f"ft_layers.{index}", dim, "LBC") for index in range(len(host.ft_layers))]


def resolution(host: Host) -> int:
    return int(host.encoder.resolution)


FIDELITY = {"restoration": 0.5, "colorization": 0.0, "inpainting": 1.0}
"""What the repository's script of each task calls the host with, where nothing is asked for."""


def usual_fidelity(host: Host) -> float:
    return FIDELITY[task(host)]


def restore(host: Host, lq: Tensor, fidelity: float | None = None) -> Tensor:
    """As the repository's own script of the host's task calls it: colours adjusted to the input's, but in inpainting.

    Args:
        fidelity: by default 0.5, for weights of colorization 0, of inpainting 1.
    """
    asked = usual_fidelity(host) if fidelity is None else weight_of(fidelity)
    adain = task(host) != "inpainting"
    if not takes_weight(host):
        return to_unit(symmetric(host, lq, w=asked, adain=adain)[0])
    with nullcontext() if adain else without_adain(host):
        return to_unit(symmetric(host, lq, weight=asked)[0])


def task(host: Host) -> str:
    """What the weights are for, by their sizes: restoration alone fuses at 256 px, inpainting has 512 codes."""
    if set(host.fuse_convs_dict) != {"32", "64", "128"}:
        return "restoration"
    return "inpainting" if len(codebook(host)) == 512 else "colorization"


@contextmanager
def without_adain(host: Host) -> Iterator[None]:
    """Within it spandrel's class, which always adjusts colours, decodes the codes as they are looked up."""
    index: list[Tensor] = []

    def look(module: nn.Module, arguments: tuple[Tensor, ...], logits: Tensor) -> None:
        index[:] = [logits.argmax(-1)]  # (L, B)

    def put(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (codebook(host)[index[0]].permute(1, 2, 0).reshape(arguments[0].shape),)  # (L, B, D) -> (B, D, h, w)

    handles = [
        host.idx_pred_layer.register_forward_hook(look),
        host.generator.blocks[0].register_forward_pre_hook(put, prepend=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def takes_weight(host: Host) -> bool:
    """spandrel's class calls the fidelity weight `weight` and always adjusts colours."""
    return takes(host, "weight")


def swallowed(host: Host) -> dict[str, str]:
    if not takes_weight(host):
        return {}
    return {"w": "use weight=", "adain": "it is always on", "code_only": "it always decodes", "detach_16": "always on"}


def codes(host: Host) -> CodeAccess:
    first, last = host.idx_pred_layer[1].weight.shape
    return CodeAccess(
        logits=Site("idx_pred_layer", int(first), "LBC"),
        entry=Site("generator.blocks.0", int(host.quantize.embedding.weight.shape[1]), "BCHW", on="input"),
        features=f"encoder.blocks.{len(host.encoder.blocks) - 1}",
        codebook=codebook,
        adain=adain_asked if not takes_weight(host) else adain_always if task(host) != "inpainting" else None,
    )


def codebook(host: Host) -> Tensor:
    return host.quantize.embedding.weight


def adain_always(arguments: Mapping[str, Any]) -> bool:
    return True


def adain_asked(arguments: Mapping[str, Any]) -> bool:
    return bool(arguments.get("adain", False))


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """spandrel's class, its sizes read off the shapes."""
    try:
        from spandrel_extra_arches.architectures.CodeFormer import CodeFormer
    except ImportError:
        raise ImportError("CodeFormer's class is in the extra 'spandrel'; pip install iqp_adapter[spandrel]") from None
    width = state["position_emb"].shape[1]
    layers = len({key.split(".")[1] for key in state if key.startswith("ft_layers.")})
    sides = sorted({key.split(".")[1] for key in state if key.startswith("fuse_convs_dict.")}, key=int)
    return CodeFormer(
        dim_embd=width,
        n_layers=layers,
        codebook_size=state["quantize.embedding.weight"].shape[0],
        latent_size=state["position_emb"].shape[0],
        connect_list=sides,
    )


HOST = HostSpec(
    name="codeformer",
    source="https://github.com/sczhou/CodeFormer",
    licence=LICENCE,
    has=("position_emb", "feat_emb.weight", "idx_pred_layer.1.weight", "quantize.embedding.weight"),
    parts=(
        "encoder.",
        "generator.",
        "quantize.",
        "position_emb",
        "feat_emb.",
        "ft_layers.",
        "idx_pred_layer.",
        "fuse_convs_dict.",
    ),  # fmt: skip
    sites=sites,
    code_sites=code_sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    fidelity=usual_fidelity,
    build=build,
    classes={"spandrel_extra_arches": "pip install iqp_adapter[spandrel]"},
    codes=codes,
    swallowed=swallowed,
    weights={
        "codeformer": WeightFile(
            f"{RELEASE}/codeformer.pth",
            LICENCE,
            sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
            mirror="datasets/Gourieff/ReActor/models/facerestore_models/codeformer-v0.1.0.pth",
        ),
        "codeformer-inpainting": WeightFile(
            f"{RELEASE}/codeformer_inpainting.pth",
            LICENCE,
            sha256="b0d1b868c3dacf75d637bbcc0d4b3dd4ce2a064a338dfb4d35c740d3b4ae8797",
        ),
        "codeformer-colorization": WeightFile(f"{RELEASE}/codeformer_colorization.pth", LICENCE),
    },
)
