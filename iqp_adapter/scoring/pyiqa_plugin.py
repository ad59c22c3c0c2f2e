"""The metrics of this project as pyiqa's own: `pyiqa.create_metric("iqp-lite")`.

    from iqp_adapter.scoring.pyiqa_plugin import register

    register()
    pyiqa.create_metric("iqp-lite", as_loss=True)

pyiqa 0.1.16 reads plug-ins from the entry points of the group "pyiqa.archs", and this library has one there. But it
reads them only when it looks for a network that it does not know, while `create_metric` refuses an unknown name before
that. So until it has made another metric, `register` has to be called.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..compat import make_importable
from ..core.metrics import COLOUR, LITE, versions
from .scorer import Scorer

NETWORK = "IqpMetric"
"""Its name in pyiqa's registry."""


class IqpMetric(nn.Module):
    """A metric of this project, as pyiqa calls its networks; it has no parameters that would be trained or saved.

    Args:
        metric: "iqp-lite", "iqp-colour", or a version of them, as "iqp-lite@1".
    """

    def __init__(self, metric: str) -> None:
        super().__init__()
        self._scorer = Scorer(metric, device="cpu")

    def forward(self, images: Tensor) -> Tensor:
        """RGB (B, 3, H, W) or grey (B, 1, H, W) -> scores (B,), 0 to 100, higher is better.

        What leaves [0, 1], as pictures in training do, is clamped.

        Raises:
            ValueError: for pictures of less than 64 pixels a side, and where there is no score.
        """
        scorer = self._scorer.to(images.device)
        return scorer(images.clamp(0, 1).expand(-1, 3, -1, -1))


def register() -> None:
    """Makes IQP-Lite and IQP-Colour, and every version of them, known to pyiqa; calling it again does no harm."""
    make_importable()
    from pyiqa.default_model_configs import DEFAULT_CONFIGS
    from pyiqa.utils.registry import ARCH_REGISTRY

    ARCH_REGISTRY.register(IqpMetric, name=NETWORK, override=True)
    for name in (LITE, COLOUR, *versions(LITE), *versions(COLOUR)):
        DEFAULT_CONFIGS[name] = {
            "metric_opts": {"type": NETWORK, "metric": name},
            "metric_mode": "NR",
            "lower_better": False,
            "score_range": "0, 100",
        }
