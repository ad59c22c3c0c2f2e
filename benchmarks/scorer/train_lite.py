"""Trains the head of iqp-lite on the full-reference quality (VIF and NLPD) of distorted faces, without opinion scores.

    python -m benchmarks.scorer.train_lite --faces FACES --output iqp_adapter/weights/iqp-lite-1

FACES holds train/ and dev/. Measuring the distorted images takes half an hour and is done once, the head then learns in
half a minute. A table of other heads, compared on dev: `python -m benchmarks.scorer.choose_head`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.common.results import RESULTS, provenance, write_json
from benchmarks.scorer.distortions import SEEN, as_tensor, distort, load_face
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.scoring.lite import IqpLite, LiteHead
from iqp_adapter.store.checkpoint import save
from iqp_adapter.store.files import atomic_path

Samples = dict[str, Tensor]
"""N distorted faces: `statistics` (N, C) of all feature levels, for heads, and the teachers `vif`, `nlpd` (N,)."""

ALL_LEVELS = (0, 1, 2, 3, 4)
OUT = RESULTS / "scorer"
STORE = Path.home() / ".cache" / "iqp_adapter" / "distorted-faces"


class DistortedFaces(Dataset):
    """Faces of 256 and 512 px under up to three distortions, many of them very mild; keyed by (seed, index)."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.files = sorted(folder.glob("*.jpg"))
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Samples:
        rng = np.random.default_rng((self.seed, index))
        size = 512 if rng.random() < 0.4 else 256
        clean = recoloured(load_face(self.files[index % len(self.files)], size), rng)
        return measure(as_tensor(mixed(clean, rng)), as_tensor(clean))

    def measured(self, store: Path) -> Samples:
        """All samples, from the store where they are there already."""
        file = store / f"{self.files[0].parent.name}-{self.count}-{self.seed}.pt"
        if not file.exists():
            from rich.progress import track

            batches = list(track(DataLoader(self, batch_size=16, num_workers=2), f"measuring {file.stem}"))
            store.mkdir(parents=True, exist_ok=True)
            with atomic_path(file) as part:
                torch.save({key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}, part)
        return torch.load(file, weights_only=True)


def recoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another light and side, so that the head does not read quality from colour or contrast."""
    image = image[:, :: rng.choice((-1, 1))] ** rng.uniform(0.75, 1.3) * rng.uniform(0.85, 1.1, 3)
    return image.clip(0, 1).astype(np.float32)


def mixed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.choice((0, 1, 2, 3), p=(0.05, 0.55, 0.25, 0.15))
    for name in rng.choice(list(SEEN), count, replace=False):
        image = distort(image, SEEN[name], rng.random() ** 1.3, rng)
    return image


@cache
def instruments() -> dict[str, Any]:
    """What measures an image; each process of the data loader builds its own."""
    import pyiqa

    metrics = {name: pyiqa.create_metric(name, device="cpu") for name in ("vif", "nlpd")}
    return metrics | {"lite": IqpLite(ALL_LEVELS).eval()}


@torch.no_grad()
def measure(image: Tensor, clean: Tensor) -> Samples:
    """VIF on luma, and NLPD on R, G and B as three grey images: on luma alone nothing would see coloured noise."""
    use = instruments()
    planes = [x.transpose(0, 1).expand(-1, 3, -1, -1) for x in (image, clean)]  # (1, 3, H, W) -> (3, 3, H, W)
    return {
        "statistics": use["lite"].statistics(image)[0],
        "vif": use["vif"](image, clean).reshape(()),
        "nlpd": use["nlpd"](*planes).mean(),
    }


def of_levels(statistics: Tensor, levels: Sequence[int]) -> Tensor:
    """(N, C of all levels) -> (N, C of some)."""
    parts = statistics.split([2 * channels for channels in instruments()["lite"].features.channels], dim=1)
    return torch.cat([parts[level] for level in levels], dim=1)


def teachers(samples: Samples) -> Samples:
    """Both higher for a better image; a VIF above 1 is too much contrast, as far from the original as its inverse."""
    return {"vif": torch.minimum(samples["vif"], 1 / samples["vif"]), "nlpd": -samples["nlpd"]}


class Target:
    """Full-reference quality, 0 to 100: the mean of an image's ranks by VIF and by NLPD among the training images."""

    def __init__(self, train: Samples) -> None:
        self.scales = {name: ScoreScale.fit(name, False, scores) for name, scores in teachers(train).items()}

    def __call__(self, samples: Samples) -> Tensor:
        """Samples -> (N,)."""
        ranks = [self.scales[name].quality(scores.double()) for name, scores in teachers(samples).items()]
        return 100 * torch.stack(ranks).mean(0).float()


def fit(statistics: Tensor, targets: Tensor, width: int = 128, epochs: int = 60, seed: int = 0) -> LiteHead:
    """A head trained on statistics (N, C) to give the targets (N,)."""
    torch.manual_seed(seed)
    head = LiteHead(statistics.shape[1], width)
    head.center.copy_(statistics.mean(0))
    head.spread.copy_(statistics.std(0) + 1e-3)
    batches = DataLoader(TensorDataset(statistics, targets), batch_size=128, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * len(batches))
    for _ in range(epochs):
        for inputs, wanted in batches:
            loss = functional.smooth_l1_loss(head(inputs), wanted, beta=2.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval()


@torch.no_grad()
def agreement(head: LiteHead, statistics: Tensor, targets: Tensor) -> dict[str, float]:
    """How well a head predicts: over all images, and within the better part, where restorers compete."""
    from scipy.stats import spearmanr

    scores = head(statistics)
    good = targets > 70
    return {
        "mean_absolute_error": float((scores - targets).abs().mean()),
        "spearman": float(spearmanr(scores, targets)[0]),
        "spearman_above_70": float(spearmanr(scores[good], targets[good])[0]),
    }


def main(
    faces: Annotated[Path, typer.Option(help="folder with train/ and dev/")],
    output: Annotated[Path, typer.Option(help="folder for config.json and model.safetensors")],
    store: Annotated[Path, typer.Option(help="folder that keeps measured images")] = STORE,
    count: Annotated[int, typer.Option(help="distorted images to learn from")] = 4200,
    levels: Annotated[list[int], typer.Option(help="feature levels, 0 the finest")] = [0, 1, 2, 3],  # noqa: B006
    width: Annotated[int, typer.Option(help="hidden units of the head")] = 128,
    seed: int = 0,
) -> None:
    torch.set_num_threads(1)  # the order of sums is part of the seed
    train = DistortedFaces(faces / "train", count, seed).measured(store)
    dev = DistortedFaces(faces / "dev", 500, seed + 1).measured(store)
    target = Target(train)
    head = fit(of_levels(train["statistics"], levels), target(train), width, seed=seed)
    save(output, head.state_dict(), {"scorer": "iqp-lite", "version": 1, "levels": levels, "width": width})
    on_dev = agreement(head, of_levels(dev["statistics"], levels), target(dev))
    write_json(OUT / "train_lite.json", provenance(seed, faces / "train") | {"images": count, "dev": on_dev})


if __name__ == "__main__":
    typer.run(main)
