"""Trains the head of iqp-lite on groups of distorted faces and on what generators make, without opinion scores.

    python -m benchmarks.scorer.train_lite --faces FACES --faces PORTRAITS --run codeformer:128:RUN \\
        --output iqp_adapter/weights/iqp-lite-2 --twin TWIN

Every --faces holds train/ and dev/; the first one is without degradation. Measuring takes an hour and is done once, a
head then learns in half a minute. First come attacks: on iqp-lite@1, on heads that learned from ordinary groups, and on
those that learned from the first attacks as well. Then the heads that ship learn from all of it, and from hard groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.common.results import provenance, write_json
from benchmarks.scorer import generated
from benchmarks.scorer.distortions import SEEN
from benchmarks.scorer.groups import Groups, HardGroups
from benchmarks.scorer.heads import Target, Weights, fit_groups, grades, merged, with_levels
from benchmarks.scorer.make_scales import scores_of, targets_of
from benchmarks.scorer.measuring import OUT, Samples
from benchmarks.scorer.raising import Reward
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.scoring.lite import FACE, IqpLite, LiteHead, LiteHeads
from iqp_adapter.scoring.scorer import reward_of
from iqp_adapter.store.checkpoint import save

GROUPS, HARD = 1200, 400
"""How many groups are learned from: ordinary ones, on which the target is scaled, and hard ones."""

ROUNDS, RAISED = 3, 60
"""How many attacks there are, and pictures of each that are raised in a score."""

POOLED, DRAWS = "all", 512
"""The score scale of all sets together, each with the same share; and pictures that are drawn of a set."""

Keep = Callable[[Tensor], Tensor]
Head = LiteHead | LiteHeads

FacesOption = Annotated[list[Path], typer.Option(help="folder with train/ and dev/; may be repeated")]
RunOption = Annotated[list[str], typer.Option(help="a small host as name:side:folder; may be repeated")]


@dataclass(frozen=True)
class Shape:
    """Of a scorer: the backbone, its levels, the hidden units of its heads, how many are averaged, and what counts."""

    backbone: str = "lite0"
    levels: tuple[int, ...] = (0, 1, 2, 3)
    width: int = 128
    where: str = "face"
    heads: int = 1

    def of(self, samples: Samples) -> Samples:
        return with_levels(samples, self.levels, self.backbone, self.where)

    def network(self, head: Head) -> IqpLite:
        network = IqpLite(self.levels, self.width, self.backbone, FACE if self.where == "face" else None, self.heads)
        network.head = head
        return network.eval()

    @property
    def config(self) -> dict[str, Any]:
        window = {"window": list(FACE)} if self.where == "face" else {}
        return {
            "backbone": self.backbone,
            "levels": list(self.levels),
            "width": self.width,
            "heads": self.heads,
        } | window


ATTACKED = Shape(), Shape("lite1")
"""Heads that are attacked in turn; they learn from ordinary groups."""

LITE, TWIN = Shape(width=256, heads=5), Shape("lite1", width=256, heads=5)
"""The heads that ship, and others on a second backbone, which `gaming` compares."""

SHIPPED: dict[str, Any] = {"weights": Weights(order=10, looks=0.1, slope=0), "batch": 64, "steps": 3000}
"""How both are fitted."""

BACKBONES = ("lite0", "lite1")


class Material:
    """What heads learn from, and the target that is fitted to it.

    A picture that was raised in a score is worth what it was worth before, plus what full reference says it gained.
    What it was worth before is the score by a head that learned from distortions alone.
    """

    def __init__(self, faces: Sequence[Path], runs: Sequence[str]) -> None:
        self.train = [folder / "train" for folder in faces]
        self.dev = [folder / "dev" for folder in faces]
        self.models = generated.generators(runs)
        self.sources = generated.sets_of(self.train)
        self.groups = Groups(self.train, self.train[0], SEEN, BACKBONES, GROUPS, 0).measured("train")
        self.raised: list[Samples] = []
        self.target = Target(self.groups)

    def on_dev(self) -> Samples:
        """Groups of people who are not in training."""
        return Groups(self.dev, self.dev[0], SEEN, (*BACKBONES, "lite2"), 90, 1).measured("dev")

    def attack(self, number: int, rewards: Sequence[Reward]) -> None:
        """Adds what rises in some rewards."""
        made = generated.raised(self.models, rewards, self.sources, RAISED, 30 + number)
        self.raised.append(generated.measured(made, self.sources, BACKBONES, RAISED, f"raised-{number}"))

    def attacked(self, seed: int) -> list[Reward]:
        """Heads that learned from what there is so far, as rewards."""
        return [reward_by(shape.network(self.fit(shape, seed))) for shape in ATTACKED]

    def harden(self) -> None:
        """Adds the hard groups."""
        hard = HardGroups(self.train, self.train[0], SEEN, BACKBONES, HARD, 4).measured("hard")
        self.groups = merged([self.groups, hard])

    def recall(self) -> None:
        """Adds all that the heads that ship learn from, as `train_lite` measured it."""
        for number in range(1, ROUNDS + 1):
            self.attack(number, [])
        self.harden()

    def fit(self, shape: Shape, seed: int = 0, keep: Keep | None = None, **options: Any) -> Head:
        """The heads of a shape, each from a seed of its own.

        Args:
            keep: tells from the numbers of people (N,) who takes part.
            options: of `fit_groups`.
        """
        groups, raised = self.groups, merged(self.raised) if self.raised else None
        if keep is not None:
            groups = some(groups, keep(groups["person"]))
            raised = raised and some(raised, keep(raised["person"]))
        learn = partial(fit_groups, shape.of(groups), self.target(groups), width=shape.width, **options)
        extras = torch.empty(0), torch.empty(0)
        if raised is not None:
            extras = self.worth(learn(*extras, seed=seed), shape.of(raised)["statistics"], raised)
        ones = [learn(*extras, seed=shape.heads * seed + place) for place in range(shape.heads)]
        return ones[0] if len(ones) == 1 else joined(ones)

    @torch.no_grad()
    def worth(self, first: LiteHead, inputs: Tensor, raised: Samples) -> tuple[Tensor, Tensor]:
        """Statistics (NS, C) and targets (NS,) of pictures (N, S), of which the first of a row was not raised yet."""
        gained = self.target(raised)
        wanted = (first(inputs[:, 0])[:, None] + gained - gained[:, :1]).clamp(0, 100)
        return inputs.flatten(0, 1), wanted.flatten()


def joined(ones: Sequence[LiteHead]) -> LiteHeads:
    """Heads of one width as one."""
    heads = LiteHeads(ones[0].center.numel(), ones[0].layers[1].out_features, len(ones))
    for place, one in enumerate(ones):
        heads[place] = one
    return heads.eval()


def some(samples: Samples, kept: Tensor) -> Samples:
    return {key: value[kept] for key, value in samples.items()}


def reward_by(network: nn.Module) -> Reward:
    network.requires_grad_(False)
    return lambda images: network(images.clamp(0, 1))


def main(
    faces: FacesOption,
    run: RunOption,
    output: Annotated[Path, typer.Option(help="folder for config.json and model.safetensors")],
    twin: Annotated[Path, typer.Option(help="folder for the second head, which `gaming` uses")],
    seed: int = 0,
) -> None:
    torch.set_num_threads(1)  # the order of sums is part of the seed
    material = Material(faces, run)
    untaught = material.attacked(seed)
    material.attack(1, [reward_of("iqp-lite@1", "cpu", differentiable=True)])
    material.attack(2, untaught)
    material.attack(3, material.attacked(seed))
    material.harden()
    on_dev = {}
    for shape, folder in ((LITE, output), (TWIN, twin)):
        head, groups = material.fit(shape, seed, **SHIPPED), material.on_dev()
        config = {"scorer": "iqp-lite", "version": 2, **shape.config, **scales(material, shape, head)}
        save(folder, head.state_dict(), config)
        on_dev[shape.backbone] = grades(head, shape.of(groups), material.target(groups))
    facts = {"groups": GROUPS, "hard": HARD, "raised": ROUNDS * RAISED, "dev": on_dev}
    write_json(OUT / "train_lite.json", facts | provenance(seed, material.train))


def scales(material: Material, shape: Shape, head: Head) -> dict[str, Any]:
    """The score scale of every set, and of all with equal shares: its pictures under the ladder of training."""
    found = {}
    for folder in material.train:
        scores = scores_of(targets_of(folder, 256), shape.network(head), DRAWS, ("hq",))
        found[folder.parent.name] = ScoreScale.fit("iqp-lite@2", False, scores)
    found[POOLED] = ScoreScale.mixture(list(found.values()), [1.0] * len(found))
    return {"scales": {name: list(scale.quantiles) for name, scale in found.items()}, "default_scale": POOLED}


if __name__ == "__main__":
    typer.run(main)
