"""How the small hosts are trained: stages of the training loop around a host of a real class."""

from __future__ import annotations

from collections import deque
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
    """A host that learns on its own, without adapter or condition. Terms: l1, perceptual.

    Args:
        host: it learns in the parts that `learning` names.
    """

    term_names = ("l1", "perceptual")
    learning: tuple[str, ...] = ("",)

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module):
        super().__init__(config, perceptual)
        self.host = host
        for name, parameter in host.named_parameters():
            parameter.requires_grad_(name.startswith(self.learning))

    def models(self) -> dict[str, nn.Module]:
        return {"host": self.host}

    def pictures(self, restored: Tensor, hq: Tensor) -> Terms:
        """Terms of pictures in [0, 1]."""
        restored = restored.float()
        return {"l1": losses.l1(restored, hq), "perceptual": self.perceptual(restored, hq)}

    def made(self, host: nn.Module, batch: Batch) -> Tensor:
        """What a host makes of a batch, in about [0, 1]."""
        return to_unit(symmetric(host, batch.lq)[0])

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        yield "host", self.pictures(self.made(self.host, batch), batch.hq)

    def look(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        return {"lq": batch.lq, "restored": self.made(model, batch).clamp(0, 1), "target": batch.hq}


class Plain(HostStage):
    """A host that works in [0, 1] learns from scratch. Terms: l1, perceptual."""

    def made(self, host: nn.Module, batch: Batch) -> Tensor:
        return host(batch.lq)


class Steered(HostStage):
    """A GFPGAN that learns from scratch. Terms: l1, perceptual, and l1 of the smaller pictures of its U-Net."""

    term_names = ("l1", "perceptual", "pyramid")
    memory_format = torch.contiguous_format  # its convolutions view what they are given

    def made(self, host: nn.Module, batch: Batch) -> Tensor:
        return super().made(host, batch._replace(lq=batch.lq.contiguous()))

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        restored, smaller = symmetric(self.host, batch.lq.contiguous(), return_rgb=True, randomize_noise=False)
        distances = [losses.l1(to_unit(rgb), resize(batch.hq, tuple(rgb.shape[-2:]))) for rgb in smaller]
        yield "host", self.pictures(to_unit(restored), batch.hq) | {"pyramid": torch.stack(distances).mean()}


class Quantising(HostStage):
    """A host that learns a codebook. Terms: l1, perceptual, and the loss of the host's own codebook.

    The codebook starts warm, since from its own start it collapses to a few codes: at first features pass as they are,
    then the centres of their clusters become the codes. Afterwards codes that were not used for a while become
    features of the newest batch.

    Options: `continuous`, the steps in which features pass as they are; `revive_every` and `revive_until`, how often
    and how long unused codes are replaced. Checkpoints at multiples of `revive_every` make a resumed run exact.
    """

    term_names = ("l1", "perceptual", "codebook")
    defaults = {"continuous": 400, "revive_every": 50, "revive_until": 2000}

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module):
        super().__init__(config, perceptual, host)
        self.quantised = _Quantised(len(host.quantize.embedding.weight))

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        self.quantised.passes = step < self.options["continuous"]
        tap = self.host.quantize.register_forward_hook(self.quantised)
        try:
            restored = self.made(self.host, batch)
        finally:
            tap.remove()
        yield "host", self.pictures(restored, batch.hq) | {"codebook": self.quantised.loss}

    @torch.no_grad()
    def after_step(self, step: int) -> Terms:
        book, done, seen = self.host.quantize.embedding.weight, step + 1, self.quantised
        if done == self.options["continuous"]:
            book.copy_(centres(torch.cat(list(seen.tokens)), len(book)))
            seen.used.zero_()
        elif done % self.options["revive_every"] == 0:
            if self.options["continuous"] < done <= self.options["revive_until"]:
                revive(book, seen.used == 0, seen.tokens[-1], done)
            seen.used.zero_()
        return {"codes": seen.count}


def centres(tokens: Tensor, count: int) -> Tensor:
    """The centres of clusters of tokens (N, D), as codes (count, D)."""
    from scipy.cluster.vq import kmeans2

    found, _ = kmeans2(tokens.float().cpu().numpy(), count, iter=10, minit="points", missing="warn", seed=0)
    return torch.from_numpy(found).to(tokens)


def revive(book: Tensor, unused: Tensor, tokens: Tensor, seed: int) -> None:
    """Unused codes of a book (K, D) become tokens (N, D), each another one."""
    order = torch.randperm(len(tokens), generator=torch_generator(seed))[: int(unused.sum())]
    book[unused.nonzero()[: len(order), 0]] = tokens[order].to(book)


class _Quantised:
    """A hook that keeps what a host's codebook made of the last batches, and lets features pass where it is told so.

    Attributes:
        tokens: (B * h * w, D) of each of the last batches.
        used: how often each code was used since this was reset, (K,).
        count: the codes that the last batch used, ().
    """

    loss: Tensor
    count: Tensor
    passes = False

    def __init__(self, codes: int):
        self.tokens: deque[Tensor] = deque(maxlen=8)
        self.used = torch.zeros(codes, dtype=torch.long)

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Any) -> Any:
        _, self.loss, info = output
        codes = (info["min_encoding_indices"] if isinstance(info, dict) else info[2]).flatten()
        now = torch.bincount(codes, minlength=len(self.used)).cpu()
        self.used += now
        self.count = (now > 0).sum()
        self.tokens.append(arguments[0].detach().permute(0, 2, 3, 1).flatten(0, 2))  # (B, D, h, w) -> (B * h * w, D)
        if not self.passes:
            return None
        self.loss = 0 * self.loss.detach()
        return arguments[0], self.loss, info


class Dictionary(Quantising):
    """CodeFormer's first stage: its autoencoder and codebook learn from good faces alone."""

    learning = ("encoder", "quantize", "generator")

    def made(self, host: Any, batch: Batch) -> Tensor:
        return to_unit(host.generator(host.quantize(host.encoder(2 * batch.hq - 1))[0]))


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
        feature = self.host.encoder(2 * batch.lq - 1)
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
        feature = self.encoder(2 * hq - 1).float()
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

    def made(self, host: nn.Module, batch: Batch) -> Tensor:
        return to_unit(symmetric(host, batch.lq, weight=1.0)[0])
