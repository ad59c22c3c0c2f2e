"""The IR-50 backbone of AdaFace.

Source: AdaFace (arXiv 2204.00964; mk-minchul/AdaFace, MIT), whose names of parameters it keeps.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ...store.checkpoint import load_strict, read_foreign


def read_adaface(weights: Path) -> AdaFace:
    """The network with the weights of a checkpoint as Lightning saves it, in eval mode."""
    state = read_foreign(weights)
    own = {key.removeprefix("model."): value for key, value in state.items() if not key.startswith("head.")}
    network = AdaFace()
    load_strict(network, own, str(weights))
    return network.eval()


class AdaFace(nn.Module):
    """Faces (B, 3, 112, 112) BGR in [-1, 1] -> embeddings (B, 512), not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        stages = zip((64, 64, 128, 256), (64, 128, 256, 512), (3, 4, 14, 3), strict=True)
        blocks = [
            _Residual(inside if first else outside, outside, stride=2 if first else 1)
            for inside, outside, count in stages
            for first in [True] + [False] * (count - 1)
        ]
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512, affine=False),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return self.output_layer(self.body(self.input_layer(faces)))


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inside != outside:
            project = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(project, nn.BatchNorm2d(outside))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inside),
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.PReLU(outside),
            nn.Conv2d(outside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)
