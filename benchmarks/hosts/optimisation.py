"""Raises a metric at test time: by other codes, by a free latent, or by drawing codes.

python -m benchmarks.hosts.optimisation --run RUN --host codeformer --faces FACES/val -o benchmarks/results/hosts

The host is bare, without an adapter. Each way raises iqp-lite. The table shows the gains by the other judges after
equal steps, the plots show them at equal rises of iqp-lite. Step sizes are chosen on dev, by
`--steps 20 --faces FACES/dev` with several of each; then one of each is run on val.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import one_hot

import iqp_adapter as iqp
from benchmarks.common.inputs import FacesOption, SeedsOption, load_pictures
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.common.sheets import write_sheet
from benchmarks.hosts import small
from benchmarks.hosts.compare import JUDGES
from benchmarks.hosts.small import load_host
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import Panel, Scores
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.core.codes import Codes, Optimisation, best_of, optimise
from iqp_adapter.core.flags import fixed
from iqp_adapter.hosts.codes import HostCodes
from iqp_adapter.pictures.plots import save_plot
from iqp_adapter.scoring.scorer import reward_of

DRIVING = JUDGES[0]
STEPS, DISCRETE, DRAWN, CONTINUOUS, SAMPLES = [5, 10, 20, 40], [0.3], [0.3], [0.03], [4, 16]
RISES = (3.0, 10.0, 20.0, 30.0, 40.0)
"""Rises of the optimised metric at which the ways are compared."""

SIZES = "step size; may be repeated"

Reward = Callable[[Tensor], Tensor]


class Try(NamedTuple):
    """The pictures after one way at one strength and some steps (or draws)."""

    way: str
    strength: float
    steps: int
    restored: Tensor


class Search(NamedTuple):
    """The ways that are tried, by their strengths: step sizes, and numbers of samples.

    `discrete` follows the gradient at the most likely codes, `drawn` at drawn ones.
    """

    steps: list[int]
    discrete: list[float]
    drawn: list[float]
    continuous: list[float]
    samples: list[int]

    def tries(self, model: iqp.WrappedHost, lq: Tensor, reward: Reward) -> Iterator[Try]:
        codes = model.codes_in(lq)
        with fixed(model.bare, model.adapters), model.conditioned(None):
            logits = (codes.logits(),)
            for rate in self.discrete:
                yield from discrete(
                    codes, logits, reward, self.steps, Optimisation(rate=rate, kl_weight=1.0, noise=0.0)
                )
            for rate in self.drawn:
                yield from discrete(
                    codes, logits, reward, self.steps, Optimisation(rate=rate, kl_weight=1.0, noise=1.0)
                )
            for rate in self.continuous:
                yield from continuous(codes, reward, self.steps, rate)
            for samples in self.samples:
                best = best_of(logits, codes.decode, reward, samples)
                yield Try("best of", samples, samples, decoded(codes, best[0]))


def discrete(
    codes: HostCodes, logits: Codes, reward: Reward, steps: list[int], settings: Optimisation
) -> Iterator[Try]:
    way = "discrete, drawn" if settings.noise else "discrete"
    for count in steps:
        best, _ = optimise(logits, codes.decode, reward, replace(settings, steps=count))
        yield Try(way, settings.rate, count, decoded(codes, best[0]))


def continuous(codes: HostCodes, reward: Reward, steps: list[int], rate: float) -> Iterator[Try]:
    """Adam on a change that is added to the looked-up codes; the sums are no codes any more."""
    moved = Moved()
    handle = codes.host.get_submodule(codes.access.entry.path).register_forward_pre_hook(moved)
    try:
        codes.restore()  # the first call shows how large the change has to be
        adam = torch.optim.Adam([moved.delta], lr=rate)
        for step in range(max(steps) + 1):
            restored = codes.restore().clamp(0, 1)
            if step in steps:
                yield Try("continuous", rate, step, restored.detach())
            adam.zero_grad()
            (-reward(restored)).sum().backward()
            adam.step()
    finally:
        handle.remove()


class Moved:
    """A hook that adds a learned change to a module's first argument."""

    delta: Tensor

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not hasattr(self, "delta"):
            self.delta = torch.zeros_like(arguments[0]).requires_grad_()
        return (arguments[0] + self.delta, *arguments[1:])


@torch.no_grad()
def decoded(codes: HostCodes, indices: Tensor) -> Tensor:
    entries = len(codes.access.codebook(codes.host))
    return codes.decode((one_hot(indices, entries).float(),))


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    faces: FacesOption,
    host: str = "codeformer",
    side: Annotated[int, typer.Option(help="of the host's pictures, in pixels")] = small.RESOLUTION,
    seeds: SeedsOption = 1,
    steps: list[int] = STEPS,
    discrete: Annotated[list[float], typer.Option(help=SIZES)] = DISCRETE,
    drawn: Annotated[list[float], typer.Option(help=SIZES)] = DRAWN,
    continuous: Annotated[list[float], typer.Option(help=SIZES)] = CONTINUOUS,
    samples: Annotated[list[int], typer.Option(help="how many; may be repeated")] = SAMPLES,
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Every way at every strength, judged after every few steps."""
    started, panel = time.perf_counter(), panel_of(JUDGES)
    pictures = load_pictures(faces, side, seeds, **small.DEGRADATION)
    people, model = People(pictures.people), iqp.wrap(load_host(host, run, side=side))
    search = Search(steps, discrete, drawn, continuous, samples)
    reward = reward_of(DRIVING, "cpu", differentiable=True)
    rows, before = [], panel(model.restore(pictures.degraded, quality=None), pictures.original)
    for tried in search.tries(model, pictures.degraded, reward):
        rows.append(row(tried, panel, people, panel(tried.restored, pictures.original), before))
        typer.echo(f"{tried.way} {tried.strength:g} {tried.steps}: {rows[-1][DRIVING]}")
    content = {"host": host, "side": side, "driving": DRIVING, "pictures": len(pictures.people), "rows": rows}
    equal = at_equal_rise(rows, panel)
    content |= {"at equal rise": equal, "judges": panel.describe(), "seconds": time.perf_counter() - started}
    write_json(out / f"{host}-optimisation.json", content | provenance(0, faces))
    write_text(out / f"{host}-optimisation.md", table(rows, equal, panel))
    draw(out / f"{host}-optimisation.png", rows, panel)
    write_sheet(out / f"{host}-optimisation-astronaut.png", astronaut(model, search, reward, side))


def row(tried: Try, panel: Panel, people: People, scores: Scores, before: Scores) -> dict[str, Any]:
    """The gain over the bare host by every judge, with its interval."""
    gains = {name: people.interval(panel.gain(name, scores[name], before[name])) for name in panel.judges}
    return {"way": tried.way, "strength": tried.strength, "steps": tried.steps, **gains}


def at_equal_rise(rows: list[dict[str, Any]], panel: Panel) -> dict[float, dict[str, dict[str, float]]]:
    """Rise -> way -> mean gain by every judge; ways that do not rise so far are left out."""
    paths = {way: [one for one in rows if one["way"] == way] for way in dict.fromkeys(one["way"] for one in rows)}
    return {
        rise: {way: gains for way, path in paths.items() if (gains := gains_at(rise, path, panel))} for rise in RISES
    }


def gains_at(rise: float, path: list[dict[str, Any]], panel: Panel) -> dict[str, float]:
    """Gains at a rise, between the rows of one way; empty where the way does not rise so far."""
    rises = np.array([0.0, *(one[DRIVING].mean for one in path)])
    if rise > rises.max():
        return {}
    order = np.argsort(rises)
    gains = {name: np.array([0.0, *(one[name].mean for one in path)]) for name in panel.judges}
    return {name: float(np.interp(rise, rises[order], values[order])) for name, values in gains.items()}


def table(rows: list[dict[str, Any]], equal: dict[float, dict[str, dict[str, float]]], panel: Panel) -> str:
    head = ["way", "strength", "steps", *panel.judges]
    lines = [[str(one[name]) for name in head] for one in rows]
    even = [["rise", "way", *panel.judges]]
    even += [
        [f"{rise:g}", way, *(f"{gain:.4g}" for gain in gains.values())]
        for rise, ways in equal.items()
        for way, gains in ways.items()
    ]
    note = "Gain over the bare host, higher is better for every judge. The first judge is the one that is optimised."
    return (
        f"# Optimising at test time\n\n{markdown([head, *lines])}\n\n{note}\n\n## At equal rise\n\n{markdown(even)}\n\n"
        "Between the rows above; a way that does not rise so far is left out.\n"
    )


def draw(path: Path, rows: list[dict[str, Any]], panel: Panel) -> None:
    """One panel a judge: its gain against the rise of the metric that is optimised, one line a way."""
    from matplotlib.figure import Figure

    others = [name for name in panel.judges if name != DRIVING]
    figure = Figure(figsize=(10.8, 3 * math.ceil(len(others) / 3)), layout="constrained")
    for place, name in enumerate(others, start=1):
        axes = figure.add_subplot(math.ceil(len(others) / 3), 3, place)
        for way in dict.fromkeys(one["way"] for one in rows):
            points = [(one[DRIVING].mean, one[name].mean) for one in rows if one["way"] == way]
            axes.plot(*zip((0.0, 0.0), *points, strict=True), marker=".", label=way)
        axes.axhline(0, color="grey", linewidth=0.6)
        axes.set_title(f"gain in {name}", fontsize=10, loc="left")
        axes.set_xlabel(f"rise of {DRIVING}", fontsize=9)
    axes.legend(fontsize=8)
    save_plot(figure, path)


def astronaut(model: iqp.WrappedHost, search: Search, reward: Reward, side: int) -> dict[str, Tensor]:
    """One picture after the last step of every way."""
    face = small.astronaut(side)
    lq = face["degraded"]
    made = {tried.way: tried.restored for tried in search.tries(model, lq, reward)}
    return {"degraded": lq, "bare": model.restore(lq, quality=None)} | made | {"original": face["original"]}


if __name__ == "__main__":
    typer.run(main)
