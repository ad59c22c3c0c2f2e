"""Stage 1 of the authors' model: entries learn by gradient, and two codebooks are summed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...native.iqpir import IQPIRTokenizer
from .. import losses
from ..config import StageConfig
from .codebooks import Reconstructed, Reconstruction
from .stage import Batch, Terms


class SummedCodebookStage(Reconstruction):
    """Stage 1 of IQPIR: codebooks learn by gradient, HQ+ from the better pictures alone; no entry is revived.

    The discriminator sees every picture. Its pull at the generator's last layer is limited to that of l1 and
    perceptual together; `weights: {adversarial: 0.8}` takes 0.8 of that.

    Options: `adversarial_from`; `alpha`, the weight of the HQ+ code in the sum; `plus_above`, the quality above which a
    picture has HQ+: a share of the pictures, since quality is one. The authors give a score, 0.70, above which are 93 %
    of FFHQ.

    Source: IQPIR (https://github.com/fengyang1399-pixel/IQPIR at a4408c7). Differs: the discriminator is that of this
    project, and weight 2 for l1 is their 1, since pictures are in [0, 1] here.
    """

    defaults = {**Reconstruction.defaults, "alpha": 0.8, "plus_above": 0.07}
    tokenizer: IQPIRTokenizer

    def __init__(self, config: StageConfig, perceptual: nn.Module, tokenizer: IQPIRTokenizer):
        super().__init__(config, perceptual, tokenizer)
        tokenizer.alpha = self.options["alpha"]
        self._seen: Terms = {}

    def reconstruct(self, batch: Batch) -> Reconstructed:
        rich = self.rich(batch.quality)
        pictures, quantised = self.tokenizer(2 * batch.hq - 1, rich)
        names = ("common", "plus")
        self._seen = {
            f"{name}_codes": torch.tensor(float(codes.unique().numel()))
            for name, codes in zip(names, quantised.codes, strict=False)
        }
        commitment = torch.stack([cost.mean() for cost in quantised.costs]).sum()
        return Reconstructed(pictures / 2 + 0.5, commitment, torch.ones_like(rich))

    def rich(self, quality: Tensor) -> Tensor:
        """Which pictures of a quality (B,) have HQ+."""
        return quality > self.options["plus_above"]

    def adversarial(self, deceived: Tensor, terms: Terms) -> Tensor:
        kept = self.together({name: terms[name] for name in ("l1", "perceptual")})
        last = self.tokenizer.generator.blocks[-1].weight
        self._seen["adaptive_weight"] = losses.adaptive_weight(kept, deceived, last)  # type: ignore[arg-type]
        return self._seen["adaptive_weight"] * deceived

    def after_step(self, step: int) -> Terms:
        """How many codes of each codebook the last batch has, and the adaptive weight."""
        return self._seen

    def pictures(self, model: IQPIRTokenizer, hq: Tensor, quality: Tensor) -> Tensor:
        return (model(2 * hq - 1, self.rich(quality))[0] / 2 + 0.5).clamp(0, 1)
