"""Adapter training on one page: an adapter for CodeFormer learns what pictures of each quality look like.

    python examples/finetune_codeformer.py codeformer.pth path/to/faces my-adapter [STEPS]

Read it to see how training works. For training use `iqp train adapter`, which can resume, averages weights and draws
loss curves and sample grids.
"""

import sys
from pathlib import Path

import torch
from torch.nn.functional import l1_loss

import iqp_adapter as iqp
from iqp_adapter.core.quality import ANY
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.scoring.perceptual import perceptual_distance
from iqp_adapter.training.dataset import FaceFolder

host, faces, out, *steps = sys.argv[1:]
bare, scorer, batch = iqp.wrap(host), iqp.Scorer("iqp-lite"), 8
size = bare.resolution

# targets of mixed quality, as in real training sets, and their degraded inputs
data = FaceFolder(Path(faces), size, degradation=Degradation.for_resolution(size), ladder=Ladder())


def pictures(first: int) -> tuple[torch.Tensor, torch.Tensor]:
    samples = [data[divmod(draw, len(data))] for draw in range(first, first + batch)]
    return tuple(torch.stack([sample[key] for sample in samples]) for key in ("hq", "lq"))


# quality is the rank of a score among those of the targets
scores = torch.cat([scorer(pictures(first)[0]) for first in range(0, len(data), batch)])
scale = iqp.ScoreScale.fit(scorer.metric, scorer.lower_better, scores)

model = iqp.wrap(bare.unwrap(), scales=[scale]).train()
perceptual = perceptual_distance("lite0")
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)  # only the adapter has parameters that learn
for step in range(int(steps[0]) if steps else 1000):
    hq, lq = pictures(step * batch)
    quality = scale.quality(scorer(hq))
    condition = torch.where(torch.rand(batch) < 0.15, ANY, quality)  # sometimes no preference
    with model.conditioned(condition):
        restored = model.spec.restore(model.host, lq)  # as model.restore, with gradients
    loss = l1_loss(restored, hq) + 0.3 * perceptual(restored, hq)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    print(f"step {step}: loss {loss.item():.3f}")

model.eval().save_pretrained(out)
