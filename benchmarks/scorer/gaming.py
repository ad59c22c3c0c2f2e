"""How far can a reward be fooled? It is raised at test time, and judges that nothing learned from look on.

    python -m benchmarks.scorer.gaming --set FACES/dev --set PORTRAITS/dev --run codeformer:128:RUN --twin TWIN \\
        --name dev

Every reward is raised by the codes and by the latent of a bare host, step by step, with nothing that holds it back. The
plot shows each judge against the loss of identity; the table compares rewards where identity fell equally far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.judges import panel_of
from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer import raising
from benchmarks.scorer.generated import degraded, small_host
from benchmarks.scorer.groups import sources
from benchmarks.scorer.measuring import OUT
from benchmarks.scorer.raising import Reward
from iqp_adapter.bench.intervals import People, person_of
from iqp_adapter.bench.panel import Panel, Scores
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.pictures.plots import save_plot
from iqp_adapter.restorer import Restorer
from iqp_adapter.scoring.ensemble import Mean
from iqp_adapter.scoring.scales import scales_in, stored_scales
from iqp_adapter.scoring.scorer import Scorer

JUDGES = ("iqp-judge", "piqe", "niqe@512", "identity", "perceptual-lite2", "psnr")
STEPS = (1, 2, 4, 8)
WAYS = ("codes", "latent")
LOSSES = (0.005, 0.01, 0.02)
"""Falls of identity at which rewards are compared."""

BATCH = 10
NIQE = "niqe"


def rewards(twin: Path) -> dict[str, Reward]:
    """The candidates: the old score, the new one, two heads on two backbones, and both with NIQE.

    The second head is in the folder `twin`, with its scale beside it.
    """
    lite, niqe = Scorer("iqp-lite", device="cpu"), Scorer(NIQE, device="cpu")
    second, known = Scorer("iqp-lite", device="cpu", weights=twin), stored_scales()
    own, other = known[lite.metric], scales_in(twin / "score_scales.json")[lite.metric]
    return {
        "iqp-lite@1": Scorer("iqp-lite@1", device="cpu"),
        "iqp-lite@2": lite,
        "two heads": Mean([lite, second], [own, other]),
        "iqp-lite@2 and NIQE": Mean([lite, niqe], [own, known[NIQE]]),
        "two heads and NIQE": Mean([lite, second, niqe], [own, other, known[NIQE]]),
    }


def pictures_of(sets: Sequence[Path], each: int, side: int) -> tuple[Tensor, Tensor, list[str]]:
    """The first picture of some people of every set: degraded, original, and who it is."""
    rows = []
    for folder in sets:
        first = {person_of(source.path): source for source in reversed(sources(folder))}
        for index, person in enumerate(sorted(first)[:each]):
            rows.append((*degraded(first[person], side, np.random.default_rng((9, index))), person))
    lq, original, people = zip(*rows, strict=True)
    return torch.cat(lq), torch.cat(original), list(people)


def curve(value: Reward, way: str, model: Restorer, lq: Tensor, original: Tensor, panel: Panel) -> dict[int, Scores]:
    """Steps -> values of the judges and of the reward itself (N,)."""
    parts: dict[int, list[Tensor]] = {}
    for part in lq.split(BATCH):
        for tried in raising.tries(way, model, part, value, STEPS):
            parts.setdefault(tried.steps, []).append(tried.restored)
    return {steps: judged(torch.cat(pictures), original, panel, value) for steps, pictures in parts.items()}


@torch.no_grad()
def judged(restored: Tensor, original: Tensor, panel: Panel, value: Reward) -> Scores:
    return panel(restored, original) | {"reward": torch.cat([value(x) for x in restored.split(BATCH)]).numpy()}


def gains(after: Scores, before: Scores, panel: Panel, people: People) -> dict[str, Any]:
    """Improvement over the restoration that was not raised, by every judge; positive is better."""
    found = {name: people.interval(panel.gain(name, after[name], before[name])) for name in panel.judges}
    return found | {"reward": people.interval(after["reward"] - before["reward"])}


def at_equal_identity(path: Sequence[dict[str, Any]], loss: float, judges: Sequence[str]) -> dict[str, float] | None:
    """Gains where identity first fell by so much, between two numbers of steps; None where it never did."""
    fallen = np.array([0.0, *(-row["identity"].mean for row in path)])
    reached = np.flatnonzero(fallen >= loss)
    if not len(reached):
        return None
    after = int(reached[0])
    share = (loss - fallen[after - 1]) / (fallen[after] - fallen[after - 1])
    values = {name: np.array([0.0, *(row[name].mean for row in path)]) for name in judges}
    return {name: float(of[after - 1] + share * (of[after] - of[after - 1])) for name, of in values.items()}


class Game:
    """One host, some faces, and the judges; every process of a pool builds its own."""

    def __init__(self, sets: Sequence[Path], run: str, twin: Path, each: int) -> None:
        torch.set_num_threads(1)
        self.model, side = small_host(run)
        self.lq, self.original, names = pictures_of(sets, each, side)
        self.panel, self.people = panel_of(JUDGES), People(names)
        self.twin = twin

    def paths(self, reward: str) -> dict[str, list[dict[str, Any]]]:
        """Way -> gains by the judges after rising numbers of steps."""
        value = rewards(self.twin)[reward]
        before = judged(self.model.restore(self.lq, quality=None), self.original, self.panel, value)
        found: dict[str, list[dict[str, Any]]] = {}
        for way in WAYS:
            after = curve(value, way, self.model, self.lq, self.original, self.panel)
            found[way] = [{"steps": n} | gains(one, before, self.panel, self.people) for n, one in after.items()]
        return found


def play(reward: str, *given: Any) -> dict[str, list[dict[str, Any]]]:
    return Game(*given).paths(reward)


def main(
    sets: Annotated[list[Path], typer.Option("--set", help="folder of aligned faces; may be repeated")],
    run: Annotated[str, typer.Option(help="the host that is bare, as name:side:folder")],
    twin: Annotated[Path, typer.Option(help="folder of other heads, which train_lite and make_scales wrote")],
    each: Annotated[int, typer.Option(min=2, help="people of every set")] = 8,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
    name: Annotated[str, typer.Option(help="of the result")] = "dev",
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the result")] = OUT,
) -> None:
    given = (sets, run, twin, each)
    game = Game(*given)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        played = {one: pool.submit(play, one, *given) for one in rewards(twin)}
        paths = {one: future.result() for one, future in played.items()}
    content = {"pictures": len(game.lq), "paths": paths, "judges": game.panel.describe()}
    write_json(out / f"gaming_{name}.json", content | provenance(0, sets))
    write_text(out / f"gaming_{name}.md", report(paths, game.panel, name))
    draw(out / f"gaming_{name}.png", paths, game.panel)


def report(paths: dict[str, dict[str, list[dict[str, Any]]]], panel: Panel, name: str) -> str:
    judges = ["reward", *panel.judges]
    lines = [["reward", "way", "steps", *judges]]
    equal = [["identity lost", "way", "reward", *panel.judges]]
    for one, ways in paths.items():
        for way, path in ways.items():
            lines += [[one, way, *(str(row[key]) for key in ("steps", *judges))] for row in path]
    for loss in LOSSES:
        for way in WAYS:
            for one, ways in paths.items():
                found = at_equal_identity(ways[way], loss, list(panel.judges))
                cells = [f"{value:.3g}" for value in found.values()] if found else ["not reached"] * len(panel.judges)
                equal.append([f"{loss:g}", way, one, *cells])
    return (
        f"# Gaming curves on {name}\n\nGain over the restoration that was not raised; positive is better for every "
        f"judge. 95 % intervals over people.\n\n{markdown(lines)}\n\n## Where identity fell equally far\n\n"
        f"{markdown(equal)}\n\nBetween the rows above.\n"
    )


def draw(path: Path, paths: dict[str, dict[str, list[dict[str, Any]]]], panel: Panel) -> None:
    """One panel a judge: its gain against the share of identity that is lost, one line a reward and way."""
    from matplotlib.figure import Figure

    shown = ["reward", *(name for name in panel.judges if name != "identity")]
    rows = math.ceil(len(shown) / 3)
    figure = Figure(figsize=(12.6, 3.4 * rows), layout="constrained")
    for place, name in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, 3, place)
        for number, (one, ways) in enumerate(paths.items()):
            for way, style in zip(WAYS, ("-", "--"), strict=True):
                points = [(0.0, 0.0), *((-row["identity"].mean, row[name].mean) for row in ways[way])]
                axes.plot(*zip(*points, strict=True), style, marker=".", color=f"C{number}", label=f"{one}, {way}")
        axes.axhline(0, color="grey", linewidth=0.6)
        axes.set_title(f"gain in {name}", fontsize=10, loc="left")
        axes.set_xlabel("identity lost", fontsize=9)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    save_plot(figure, path)


if __name__ == "__main__":
    typer.run(main)
