"""One update of a stage of training on the same pictures again and again, as the loop makes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from iqp_adapter.scoring.scales import lite_scale
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch, Stage


def one_update(stage: Stage, images: Tensor) -> Callable[[], None]:
    """An update of every model of a stage, whenever it is called.

    Args:
        stage: its optimisers are fresh ones.
        images: (B, 3, R, R) in [0, 1], the inputs; mirrored they are the targets.
    """
    adams = {
        name: torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
        for name, model in stage.models().items()
    }
    count, device = len(images), images.device
    scale = SampleScales((lite_scale(),), torch.zeros(count, dtype=torch.long, device=device))
    quality, full = torch.full((count,), 0.5, device=device), torch.ones(count, dtype=torch.bool, device=device)
    batch = Batch(images, images.flip(-1), quality, list(range(count)), scale, full)

    def update() -> None:
        for name, terms in stage.updates(batch, 0):
            stage.together(terms).backward()
            adams[name].step()
            adams[name].zero_grad()

    return update
