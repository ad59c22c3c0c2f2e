"""DAEFR: two encoders, for good and for degraded faces, whose features meet before codes are predicted.

Source: https://github.com/LIAGM/DAEFR at 02d5010 (`DAEFR/models/daefr.py`, a Lightning module).
Licence: none is stated. Weights: `DAEFR_model.ckpt` of LIAGM/DAEFR_pretrain_model on the Hugging Face Hub.

The sites are the decoder's attention blocks, behind the codes, to which the image has a gradient, as in CodeFormer.
From the Transformer's layers, and the cross-attention in which the encoders meet, an adapter steers the codes instead.
The image's gradient ends at the latter; the former learn through the code loss, which every call returns.
"""

from __future__ import annotations

from collections.abc import Mapping

from iqp_adapter.adapters.restoreformer import attending, sizes
from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import CodeAccess, Host, HostSpec, symmetric, to_unit
from iqp_adapter.store.fetch import WeightFile

LICENCE = "none stated"
WAY = "put https://github.com/LIAGM/DAEFR on PYTHONPATH, and install pytorch-lightning and omegaconf"


def sites(host: Host) -> list[Site]:
    return attending(host.vqvae.decoder, "vqvae.decoder")


def code_sites(host: Host) -> list[Site]:
    dim, features = host.feat_emb.out_features, host.feat_emb.in_features
    layers = [Site(f"ft_layers.{index}", dim, "LBC") for index in range(len(host.ft_layers))]
    return [Site("cross_attention", features, "BCHW"), *layers]


def resolution(host: Host) -> int:
    return int(host.vqvae.encoder.resolution)


def restore(host: Host, lq: Tensor) -> Tensor:
    return to_unit(symmetric(host, lq)[0])


def codes(host: Host) -> CodeAccess:
    return CodeAccess(
        logits=Site("idx_pred_layer", int(host.idx_pred_layer[1].weight.shape[0]), "LBC"),
        entry=Site("vqvae.post_quant_conv", host.feat_emb.in_features, "BCHW", on="input"),
        features="cross_attention",
        codebook=codebook,
    )


def codebook(host: Host) -> Tensor:
    return host.vqvae.Fixed_quantize.embedding.weight


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """The repository's class, where it can be imported; its Transformer has one size, the rest has those of shapes."""
    try:
        from DAEFR.models.daefr import DAEFRModel
    except ImportError as error:
        raise ImportError(f"DAEFR's class cannot be imported ({error}); {WAY}") from error
    inner = {key.removeprefix("vqvae."): value for key, value in state.items() if key.startswith("vqvae.")}
    inner["quantize.embedding.weight"] = inner["Fixed_quantize.embedding.weight"]
    fixed = {"in_channels": 3, "out_ch": 3, "double_z": False, "fix_decoder": False}
    network = {"target": "DAEFR.modules.vqvae.vqvae_arch.VQVAEGANMERGE", "params": sizes(inner) | fixed}
    return DAEFRModel(ddconfig=network, lossconfig={"params": {"disc_start": 0}})


HOST = HostSpec(
    name="daefr",
    source="https://github.com/LIAGM/DAEFR",
    licence=LICENCE,
    has=("cross_attention.", "feat_emb.weight", "idx_pred_layer.1.weight", "vqvae.post_quant_conv.weight"),
    parts=("vqvae.", "cross_attention.", "position_emb", "feat_emb.", "ft_layers.", "idx_pred_layer."),
    sites=sites,
    code_sites=code_sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    build=build,
    classes={"DAEFR": WAY},
    codes=codes,
    weights={
        "daefr": WeightFile(
            "https://huggingface.co/LIAGM/DAEFR_pretrain_model/resolve/main/DAEFR_model.ckpt",
            LICENCE,
            mirror="LIAGM/DAEFR_pretrain_model/DAEFR_model.ckpt",
        ),
    },
)
