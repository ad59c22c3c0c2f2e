"""Trains the head of iqp-lite on groups of distorted faces and on what generators make, without opinion scores.

    python -m benchmarks.scorer.train_lite --faces FACES --faces PORTRAITS --run codeformer:128:RUN \\
        --output iqp_adapter/weights/iqp-lite-2

Every --faces holds train/ and dev/; the first one is without degradation. Measuring takes an hour and is done once, a
head then learns in a minute. It learns in rounds: what fools iqp-lite@1 is in the first one, and what fools the head of
a round is in the next. Heads were chosen on dev by `python -m benchmarks.scorer.choose_head`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.common.results import RESULTS, provenance, write_json
from benchmarks.scorer import generated
from benchmarks.scorer.distortions import SEEN
from benchmarks.scorer.groups import Groups
from benchmarks.scorer.heads import Samples, Target, fit_groups, grades, merged, of_levels, with_levels
from iqp_adapter.scoring.lite import FACE, IqpLite, LiteHead
from iqp_adapter.scoring.scorer import reward_of
from iqp_adapter.store.checkpoint import save

OUT = RESULTS / "scorer"
GROUPS, OUTPUTS = 1200, 420
ROUNDS, FOOLING = 3, 60
"""How often heads are attacked, and by how many pictures that are raised in a score."""

FacesOption = Annotated[list[Path], typer.Option(help="folder with train/ and dev/; may be repeated")]
RunOption = Annotated[list[str], typer.Option(help="a small host as name:side:folder; may be repeated")]


@dataclass(frozen=True)
class Shape:
    """Of a scorer: the backbone, its levels, the hidden units of the head, and which part of the picture counts."""

    backbone: str = "lite0"
    levels: tuple[int, ...] = (0, 1, 2, 3)
    width: int = 128
    where: str = "face"

    def of(self, samples: Samples) -> Samples:
        return with_levels(samples, self.levels, self.backbone, self.where)

    def network(self, head: LiteHead) -> IqpLite:
        network = IqpLite(self.levels, self.width, self.backbone, FACE if self.where == "face" else None)
        network.head = head
        return network.eval()

    @property
    def config(self) -> dict[str, Any]:
        window = {"window": list(FACE)} if self.where == "face" else {}
        return {"backbone": self.backbone, "levels": list(self.levels), "width": self.width} | window


TWIN = Shape("lite1")
"""A second head that is attacked in turn with the first."""

BACKBONES = ("lite0", "lite1")


class Material:
    """What heads learn from, and the target that is fitted to it."""

    def __init__(self, faces: Sequence[Path], runs: Sequence[str]) -> None:
        self.train = [folder / "train" for folder in faces]
        self.dev = [folder / "dev" for folder in faces]
        self.models = generated.generators(runs)
        self.sources = generated.sets_of(self.train)
        self.groups = Groups(self.train, self.train[0], SEEN, BACKBONES, GROUPS, 0).measured("train")
        self.extras = [self._outputs("train", self.sources, OUTPUTS, 10)]
        self.target = Target(self.groups)

    def _outputs(self, name: str, sources: Any, count: int, seed: int, more: tuple[str, ...] = ()) -> Samples:
        made = generated.outputs(self.models, sources, count, seed)
        return generated.measured(made, sources, BACKBONES + more, count, f"outputs-{name}")

    def on_dev(self) -> tuple[Samples, Samples]:
        """Groups and outputs of people who are not in training."""
        more = ("lite2",)
        groups = Groups(self.dev, self.dev[0], SEEN, BACKBONES + more, 90, 1).measured("dev")
        return groups, self._outputs("dev", generated.sets_of(self.dev), 80, 11, more)

    def attack(self, number: int, rewards: Sequence[Callable[[Tensor], Tensor]]) -> None:
        """Adds what fools some rewards, early and late on the way of every picture."""
        made = generated.fooling(self.models, rewards, self.sources, FOOLING, 20 + number)
        self.extras.append(generated.measured(made, self.sources, BACKBONES, 2 * FOOLING, f"fooling-{number}"))

    def recall(self) -> None:
        """Adds what fooled the rewards of all rounds, as `train_lite` measured it."""
        for number in range(1, ROUNDS + 1):
            self.attack(number, [])

    def fit(
        self, shape: Shape, seed: int = 0, keep: Callable[[Tensor], Tensor] | None = None, **options: Any
    ) -> LiteHead:
        """A head of a shape; `keep` tells from the numbers of people (N,) who takes part."""
        groups, extras = self.groups, merged(self.extras)
        if keep is not None:
            groups, extras = some(groups, keep(groups["person"])), some(extras, keep(extras["person"]))
        inputs = of_levels(extras[f"statistics-{shape.backbone}"], shape.levels, shape.backbone, shape.where)
        return fit_groups(
            shape.of(groups), self.target(groups), inputs, self.target(extras), width=shape.width, seed=seed, **options
        )


def some(samples: Samples, kept: Tensor) -> Samples:
    return {key: value[kept] for key, value in samples.items()}


def reward_by(network: nn.Module) -> Callable[[Tensor], Tensor]:
    network.requires_grad_(False)
    return lambda images: network(images.clamp(0, 1))


def main(
    faces: FacesOption,
    run: RunOption,
    output: Annotated[Path, typer.Option(help="folder for config.json and model.safetensors")],
    seed: int = 0,
) -> None:
    torch.set_num_threads(1)  # the order of sums is part of the seed
    material, shape = Material(faces, run), Shape()
    material.attack(1, [reward_of("iqp-lite@1", "cpu", differentiable=True)])
    for number in range(2, ROUNDS + 1):
        networks = [one.network(material.fit(one, seed)) for one in (shape, TWIN)]
        material.attack(number, [reward_by(network) for network in networks])
    head = material.fit(shape, seed)
    groups, outputs = material.on_dev()
    on_dev = grades(head, shape.of(groups), material.target(groups)) | agreement_on(
        head, shape, outputs, material.target
    )
    save(output, head.state_dict(), {"scorer": "iqp-lite", "version": 2, **shape.config})
    facts = {"groups": GROUPS, "outputs": OUTPUTS, "fooling": 2 * ROUNDS * FOOLING, "dev": on_dev}
    write_json(OUT / "train_lite.json", facts | provenance(seed, material.train[0]))


@torch.no_grad()
def agreement_on(head: LiteHead, shape: Shape, outputs: Samples, target: Target) -> dict[str, float]:
    """On restorations: rank correlation with the target, and by how much scores are too high."""
    from scipy.stats import spearmanr

    scores = head(of_levels(outputs[f"statistics-{shape.backbone}"], shape.levels, shape.backbone, shape.where))
    wanted = target(outputs)
    return {
        "outputs_spearman": float(spearmanr(scores, wanted)[0]),
        "outputs_too_high": float((scores - wanted).mean()),
    }


if __name__ == "__main__":
    typer.run(main)
