"""RestoreFormer++, put together from the parts of RestoreFormer that the package gfpgan holds.

Source: https://github.com/wzhouxiff/RestoreFormerPlusPlus at 59d250f (`VQVAEGANMultiHeadTransformer`), Apache-2.0.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class RestoreFormerPlusPlus(nn.Module):
    """RestoreFormer whose decoder meets the encoder's maps at more levels than the deepest.

    Args:
        restoreformer: whose other parts are taken.
        decoder: of gfpgan's class, with attention at these levels.
    """

    def __init__(self, restoreformer: Any, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder, self.quantize = restoreformer.encoder, decoder, restoreformer.quantize
        self.quant_conv, self.post_quant_conv = restoreformer.quant_conv, restoreformer.post_quant_conv

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Any, dict[str, Tensor]]:
        """Pictures (B, 3, R, R) in [-1, 1] -> restored ones, loss and findings of the codebook, the encoder's maps.

        gfpgan's decoder asks for maps called `<level>_atten`: above the deepest level these are the `<level>` itself.
        """
        maps = self.encoder(input)
        codes, loss, info = self.quantize(self.quant_conv(maps["out"]))
        met = {f"{name}_atten": value for name, value in maps.items()} | maps
        return self.decoder(self.post_quant_conv(codes), met), loss, info, maps
