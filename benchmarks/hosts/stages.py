"""How the small hosts are trained: stages of the training loop around a host of a real class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from iqp_adapter.degradations.rng import torch_generator
from iqp_adapter.hosts.spec import symmetric, to_unit
from iqp_adapter.pictures import resize
from iqp_adapter.training import losses
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.stages import Batch, Stage, Terms


class HostStage(Stage):
    """A host that learns on its own, without adapter or condition.

    Args:
        host: it learns in the parts that `learning` names.
    """

    term_names = ("l1", "perceptual")
    memory_format = torch.contiguous_format
    learning: tuple[str, ...] = ("",)

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module):
        super().__init__(config, perceptual)
        self.host = host
        for name, parameter in host.named_parameters():
            parameter.requires_grad_(name.startswith(self.learning))

    def models(self) -> dict[str, nn.Module]:
        return {"host": self.host}

    def pictures(self, restored: Tensor, hq: Tensor) -> Terms:
        restored = to_unit(restored).float()
        return {"l1": losses.l1(restored, hq), "perceptual": self.perceptual(restored, hq)}

    def look(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        restored, *_ = symmetric(model, batch.lq.contiguous())
        return {"lq": batch.lq, "restored": to_unit(restored).clamp(0, 1), "target": batch.hq}


class Steered(HostStage):
    """A GFPGAN that learns from scratch. Terms: l1, perceptual, and l1 of the smaller pictures of its U-Net."""

    term_names = ("l1", "perceptual", "pyramid")

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        restored, smaller = symmetric(self.host, batch.lq.contiguous(), return_rgb=True, randomize_noise=False)
        distances = [losses.l1(to_unit(rgb), resize(batch.hq, tuple(rgb.shape[-2:]))) for rgb in smaller]
        yield "host", self.pictures(restored, batch.hq) | {"pyramid": torch.stack(distances).mean()}


class Quantising(HostStage):
    """A host that learns a codebook. Terms: l1, perceptual, and the loss of the host's own codebook."""

    term_names = ("l1", "perceptual", "codebook")
    defaults = {"revive_every": 50, "revive_until": 600}

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module):
        super().__init__(config, perceptual, host)
        self.quantised = _Quantised()

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        tap = self.host.quantize.register_forward_hook(self.quantised.keep)
        try:
            restored = self.restored(batch)
        finally:
            tap.remove()
        yield "host", self.pictures(restored, batch.hq) | {"codebook": self.quantised.loss}

    def restored(self, batch: Batch) -> Tensor:
        return symmetric(self.host, batch.lq.contiguous())[0]

    @torch.no_grad()
    def after_step(self, step: int) -> Terms:
        """Early in training, codes that this batch has not used become tokens of it; at first nearly all do."""
        book = self.host.quantize.embedding.weight
        unused = torch.bincount(self.quantised.codes, minlength=len(book)) == 0
        if step % self.options["revive_every"] == 0 and step <= self.options["revive_until"]:
            order = torch.randperm(len(self.quantised.tokens), generator=torch_generator(step))
            book[unused] = self.quantised.tokens[order[: int(unused.sum())]].to(book)
        return {"codes": (~unused).sum()}


class _Quantised:
    """The output of a host's codebook for the last batch."""

    loss: Tensor
    codes: Tensor
    tokens: Tensor

    def keep(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Any) -> None:
        _, self.loss, info = output
        self.codes = (info["min_encoding_indices"] if isinstance(info, dict) else info[2]).flatten()
        self.tokens = arguments[0].detach().permute(0, 2, 3, 1).flatten(0, 2)  # (B, D, h, w) -> (B * h * w, D)


class Dictionary(Quantising):
    """CodeFormer's first stage: its autoencoder and codebook learn from good faces alone."""

    learning = ("encoder", "quantize", "generator")

    def restored(self, batch: Batch) -> Tensor:
        return _autoencoded(self.host, batch.hq)

    def look(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        return {"target": batch.hq, "restored": to_unit(_autoencoded(model, batch.hq)).clamp(0, 1)}


def _autoencoded(host: nn.Module, hq: Tensor) -> Tensor:
    return host.generator(host.quantize(host.encoder(2 * hq.contiguous() - 1))[0])


class Prediction(HostStage):
    """CodeFormer's second stage: encoder and Transformer find the target's codes in the lq. Terms: code, feature.

    Differs from the original: code logits start as similarities of the features to the codes, which shortens the
    training.
    """

    term_names = ("code", "feature", "right")
    learning = ("encoder", "feat_emb", "position_emb", "ft_layers", "idx_pred_layer")

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module, encoder: nn.Module):
        super().__init__(config, perceptual, host)
        self.encoder = encoder.requires_grad_(False)

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        codes, wanted = self.wanted(batch.hq)
        feature = self.host.encoder(2 * batch.lq.contiguous() - 1)
        logits = self.logits(feature)
        yield (
            "host",
            {
                "code": losses.code_cross_entropy(logits, codes, smoothing=0.1),
                "feature": losses.feature_distance(feature, wanted),
                "right": (logits.argmax(-1) == codes).float().mean(),
            },
        )

    @torch.no_grad()
    def wanted(self, hq: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.encoder(2 * hq.contiguous() - 1).float()
        quantised, _, info = self.host.quantize(feature)
        return info["min_encoding_indices"].reshape(len(hq), -1), quantised

    def logits(self, feature: Tensor) -> Tensor:
        """As in the host's own forward, without its decoder: (B, 256, h, w) -> (B, L, K)."""
        position = self.host.position_emb.unsqueeze(1).repeat(1, len(feature), 1)
        tokens = self.host.feat_emb(feature.flatten(2).permute(2, 0, 1))  # (B, D, h, w) -> (L, B, D)
        for layer in self.host.ft_layers:
            tokens = layer(tokens, query_pos=position)
        return self.host.idx_pred_layer(tokens).permute(1, 0, 2)


@torch.no_grad()
def start_from_codes(host: nn.Module) -> None:
    """Code logits of an untrained Transformer become similarities of the features to the codes."""
    nn.init.eye_(host.feat_emb.weight)
    nn.init.zeros_(host.feat_emb.bias)
    for layer in host.ft_layers:
        nn.init.zeros_(layer.self_attn.out_proj.weight)
        nn.init.zeros_(layer.linear2.weight)
    host.idx_pred_layer[1].weight.copy_(normalize(host.quantize.embedding.weight, dim=1))


class Fusion(HostStage):
    """CodeFormer's third stage: details of the lq at fidelity 1, everything else fixed. Terms: l1, perceptual."""

    learning = ("fuse_convs_dict",)

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module):
        super().__init__(config, perceptual, host)
        for block in host.fuse_convs_dict.values():
            for last in (block.scale[-1], block.shift[-1]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        restored, _ = symmetric(self.host, batch.lq.contiguous(), weight=1.0)
        yield "host", self.pictures(restored, batch.hq)
