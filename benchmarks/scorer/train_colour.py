"""Trains the head of iqp-colour on the colour difference (CIEDE2000) of discoloured faces, without opinion scores.

    python -m benchmarks.scorer.train_colour --faces FACES --output iqp_adapter/weights/iqp-colour-1

FACES holds train/, on which it learns, dev/ and val/, on which it is judged. Measuring takes ten minutes and is done
once, the head then learns in half a minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch.utils.data import Dataset

from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.discolourations import SEEN, UNSEEN
from benchmarks.scorer.distortions import SEEN as NUISANCES
from benchmarks.scorer.distortions import as_tensor, distort, load_face
from benchmarks.scorer.groups import statistics
from benchmarks.scorer.heads import agreement, fit, of_levels
from benchmarks.scorer.measuring import OUT, Samples, measured
from benchmarks.scorer.severities import SEVERITIES, follows, scores_on_ladders
from iqp_adapter.bench.intervals import Interval, person_of
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store.checkpoint import save
from iqp_adapter.store.files import list_images

METRICS = ("iqp-colour", "iqp-lite", "niqe", "piqe")
LEVELS = (0, 1, 2, 3)
SIDE = 256


class DiscolouredFaces(Dataset[Samples]):
    """Faces of 128 and 256 px of which most have wrong colours; keyed by (seed, index).

    Half of them are also blurred, noisy or compressed, which does not count as a wrong colour.
    """

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.files = sorted(folder.glob("*.jpg"))
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Samples:
        rng = np.random.default_rng((self.seed, index))
        face = load_face(self.files[index % len(self.files)], int(rng.choice((128, 256))))
        right = spoilt(face[:, :: rng.choice((-1, 1))], rng)
        wrong = discoloured(right, rng)
        with torch.no_grad():
            found = statistics("lite0", as_tensor(wrong))[0]
        return {"statistics": found, "ciede2000": colour_difference(wrong, right)}


def spoilt(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for name in rng.choice(list(NUISANCES), rng.choice((0, 1)), replace=False):
        image = distort(image, NUISANCES[name], 0.7 * rng.random(), rng)
    return image


def discoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.choice((0, 1, 2), p=(0.1, 0.6, 0.3))
    for position in rng.choice(len(SEEN), count, replace=False):
        image = distort(image, SEEN[position], rng.random() ** 1.3, rng)
    return image


def colour_difference(image: np.ndarray, other: np.ndarray) -> torch.Tensor:
    """Mean CIEDE2000 of two pictures (H, W, 3) in fields of 1/64 of a side: ()."""
    import cv2
    from skimage.color import deltaE_ciede2000, rgb2lab

    fields = [rgb2lab(cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)) for picture in (image, other)]
    return torch.tensor(deltaE_ciede2000(*fields).mean())


def on_ladders(faces: Path) -> dict[str, dict[str, dict[str, Interval]]]:
    """How metrics follow the severity of discolourations, seen in training and unseen."""
    files = list_images([faces])
    scorers, people = [Scorer(metric, device="cpu") for metric in METRICS], [person_of(file) for file in files]
    return {
        group: {m: follows(scores, people) for m, scores in scores_on_ladders(files, SIDE, scorers, kinds).items()}
        for group, kinds in {"seen": SEEN, "unseen": UNSEEN}.items()
    }


def report(results: dict[str, Any]) -> str:
    lines = [["discolourations", "metric", "per image", "pooled", "raised"]]
    for group, metrics in results.items():
        lines += [[group, metric, *map(str, row.values())] for metric, row in metrics.items()]
    return (
        f"# Colour scores against severity\n\n{markdown(lines)}\n\nRank correlation (Spearman) of the score with the "
        f"severity of {len(SEEN)} discolourations that iqp-colour was trained on and {len(UNSEEN)} that it was not, "
        f"{len(SEVERITIES)} severities and the original, at {SIDE} px, of people never seen; 95 % intervals over "
        "people. Per image: within one face and discolouration. Pooled: over all at once. Raised: share of discoloured "
        "faces that score better than their original.\n"
    )


def main(
    faces: Annotated[Path, typer.Option(help="folder with train/, dev/ and val/")],
    output: Annotated[Path, typer.Option(help="folder for config.json and model.safetensors")],
    count: Annotated[int, typer.Option(help="discoloured images to learn from")] = 2000,
    width: Annotated[int, typer.Option(help="hidden units of the head")] = 128,
    seed: int = 0,
) -> None:
    torch.set_num_threads(1)  # the order of sums is part of the seed
    train, dev = (
        of_levels_measured(DiscolouredFaces(faces / part, size, seed + shift))
        for part, size, shift in (("train", count, 0), ("dev", 500, 1))
    )
    scale = ScoreScale.fit("ciede2000", True, train["ciede2000"])
    targets = [100 * scale.quality(samples["ciede2000"].double()).float() for samples in (train, dev)]
    head = fit(train["statistics"], targets[0], width, seed=seed)
    save(output, head.state_dict(), {"scorer": "iqp-colour", "version": 1, "levels": list(LEVELS), "width": width})
    content = {"images": count, "dev": agreement(head, dev["statistics"], targets[1]), "val": on_ladders(faces / "val")}
    write_json(OUT / "train_colour.json", content | provenance(seed, faces / "train"))
    write_text(OUT / "train_colour.md", report(content["val"]))


def of_levels_measured(pictures: DiscolouredFaces) -> Samples:
    part = pictures.files[0].parent.name
    samples = measured(pictures, f"colour-{part}-{pictures.count}-{pictures.seed}")
    return samples | {"statistics": of_levels(samples["statistics"], LEVELS)}


if __name__ == "__main__":
    typer.run(main)
