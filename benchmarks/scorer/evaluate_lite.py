"""Does iqp-lite hold where it was not trained? Unseen people, unseen distortions, outputs of a model, attacks.

python -m benchmarks.scorer.evaluate_lite --faces FACES/val --model tiny
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.inputs import load_model, load_pictures, restore
from benchmarks.common.judges import panel_of
from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.choose_default import EveryOption, FacesOption, compare, explained, short
from benchmarks.scorer.distortions import UNSEEN, as_tensor, blur, distort, load_face
from benchmarks.scorer.severities import ladder, pooled
from benchmarks.scorer.train_lite import OUT
from iqp_adapter.bench.intervals import People, person_of
from iqp_adapter.bench.panel import summary
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store.files import list_images

METRICS = ("iqp-lite", "niqe", "piqe")
TRUTHS = ("perceptual-lite2", "fsim", "vsi", "gmsd", "ssim")
"""Full-reference judges that nothing here was trained on; the first shares its family of backbones with iqp-lite."""

QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0, "any")
ATTACK_STEPS, ATTACK_RATE = 20, 0.002

Agreement = dict[str, dict[str, Any]]


def agreement(images: Tensor, originals: Tensor, people: Sequence[str]) -> Agreement:
    """Pooled rank correlation of every metric with every full-reference judge.

    Args:
        images: (M, N, 3, H, W) M versions of N pictures.
        originals: (N, 3, H, W).
        people: who is on each picture (N,).
    """
    panel = panel_of([*METRICS, *TRUTHS])
    scores = [panel(version, originals) for version in images]
    better = {
        name: np.stack([of[name] for of in scores]) * (-1 if panel.judges[name].lower_better else 1)
        for name in panel.judges
    }
    return {metric: {truth: pooled(better[metric], better[truth], people) for truth in TRUTHS} for metric in METRICS}


def on_unseen_distortions(files: Sequence[Path], size: int = 256) -> Agreement:
    clean = [load_face(file, size) for file in files]
    versions = torch.cat(
        [
            torch.stack([ladder(image, unseen, file.stem) for image, file in zip(clean, files, strict=True)], dim=1)
            for unseen in UNSEEN.values()
        ]
    )  # (types * levels, N, 3, H, W)
    return agreement(versions, torch.cat([as_tensor(image) for image in clean]), [person_of(file) for file in files])


def on_outputs(model: str, faces: Path, seeds: int) -> Agreement:
    """On the degraded input and its restorations at several qualities."""
    network = load_model(model)
    pictures = load_pictures(faces, network.resolution, seeds)
    restored = [restore(network, pictures.degraded, quality=quality) for quality in QUALITIES]
    return agreement(torch.stack([pictures.degraded, *restored]), pictures.original, pictures.people)


def under_attack(files: Sequence[Path], metric: str, size: int = 256) -> dict[str, Any]:
    """Blurred faces whose pixels follow the metric's gradient: its scores and those of others, before and after."""
    originals = torch.cat([as_tensor(load_face(file, size)) for file in files])
    start = torch.cat([_blurred(file, size) for file in files])
    scorer, panel = Scorer(metric, device="cpu"), panel_of([*METRICS, "psnr", "fsim", "gmsd"])
    pushed = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pushed], lr=ATTACK_RATE, maximize=not scorer.lower_better)
    for _ in range(ATTACK_STEPS):
        optimizer.zero_grad()
        scorer(pushed.clamp(0, 1)).sum().backward()
        optimizer.step()
    people = People([person_of(file) for file in files])
    images = {"before": start, "after": pushed.detach().clamp(0, 1)}
    return summary({name: panel(image, originals) for name, image in images.items()}, people)


def _blurred(file: Path, size: int) -> Tensor:
    return as_tensor(distort(load_face(file, size), blur, 0.5, np.random.default_rng(0)))


def main(
    faces: FacesOption,
    model: Annotated[str | None, typer.Option(help='"tiny", the folder of a model, or a Hub id')] = None,
    every: EveryOption = 2,
    seeds: Annotated[int, typer.Option(min=1, help="degradations of every picture that the model restores")] = 2,
) -> None:
    torch.set_num_threads(1)
    files = list_images([faces])[::every]
    ladders = compare(files, [Scorer(metric, device="cpu") for metric in METRICS])
    agreements = {"unseen distortions": on_unseen_distortions(files)}
    if model is not None:
        agreements["outputs of the model"] = on_outputs(model, faces, seeds)
    attacks = {metric: under_attack(files, metric) for metric in ("iqp-lite", "niqe")}
    content = {"faces": len(files), "ladders": ladders, "agreement": agreements, "attacks": attacks}
    write_json(OUT / f"evaluate_lite_{faces.name}.json", content | provenance(0, faces, model=model))
    text = (
        f"# iqp-lite on {faces.name}\n\n## Against severity\n\n{explained(ladders, files)}\n{_agreements(agreements)}"
    )
    write_text(OUT / f"evaluate_lite_{faces.name}.md", text + _attacks(attacks))


def _agreements(results: dict[str, Agreement]) -> str:
    text = "## Against full-reference judges\n\nPooled rank correlation; 95 % intervals over people.\n"
    for name, metrics in results.items():
        lines = [[name, *TRUTHS], *([metric, *map(short, row.values())] for metric, row in metrics.items())]
        text += f"\n{markdown(lines)}\n"
    return text


def _attacks(results: dict[str, Any]) -> str:
    judges = list(next(iter(results.values()))["before"])
    lines = [["pushed by", "", *judges]]
    lines += [
        [metric, state, *(f"{row[judge].mean:.3g}" for judge in judges)]
        for metric, states in results.items()
        for state, row in states.items()
    ]
    return (
        f"\n## Under attack\n\n{markdown(lines)}\n\nBlurred faces, {ATTACK_STEPS} steps of Adam ({ATTACK_RATE}) on "
        "their pixels to raise the metric. If the score rises while fsim and gmsd get worse, the metric was fooled.\n"
    )


if __name__ == "__main__":
    typer.run(main)
