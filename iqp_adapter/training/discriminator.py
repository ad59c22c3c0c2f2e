"""The discriminator: decides for every patch of a picture whether it is real."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from . import losses


class PatchDiscriminator(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] -> logits (B, 1, H / 16, W / 16), one per overlapping patch.

    Source: PatchGAN (arXiv 1611.07004) with spectral normalisation (arXiv 1802.05957). Differs: the first layer folds
    2 x 2 pixels into channels, which is cheap on a CPU.
    """

    def __init__(self, dim: int = 64):
        super().__init__()
        widths = (dim, 2 * dim, 4 * dim)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), _conv(12, dim, stride=2)]
        for before, width in zip(widths, widths[1:], strict=False):
            layers += [nn.LeakyReLU(0.2), _conv(before, width, stride=2)]
        self.layers = nn.Sequential(*layers, nn.LeakyReLU(0.2), _conv(widths[-1], 1, stride=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(2 * images - 1)

    def deceived(self, made: Tensor, judged: Tensor) -> Tensor:
        """The loss () of what made pictures (B, 3, H, W), which learns to deceive it.

        Args:
            judged: (B,) bool, the pictures that count, or how much each counts.
        """
        self.requires_grad_(False)
        loss = losses.hinge_generator(self(made), judged)
        self.requires_grad_(True)
        return loss

    def mistaken(self, real: Tensor, made: Tensor, judged: Tensor, judged_made: Tensor | None = None) -> Tensor:
        """Its own loss (), of real pictures and of those that were made; the same ones of both count by default."""
        return losses.hinge_discriminator(self(real), self(made.detach()), judged, judged_made)


def _conv(dim: int, out_dim: int, stride: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(dim, out_dim, 3, stride, 1))
