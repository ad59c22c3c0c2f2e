"""Raising a metric at test time: by choosing other codes, by moving the latent freely, or by drawing codes.

python -m benchmarks.hosts.optimisation --run RUN --host codeformer --faces FACES/val -o benchmarks/results/hosts

On a bare host, no adapter: what its owner has on the first day. Each way raises iqp-lite; the table has what the
other judges say of it after equal steps, and shows where the metric has risen equally.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import one_hot

import iqp_adapter as iqp
from benchmarks.hosts import small
from benchmarks.hosts.adapt import load_host
from benchmarks.hosts.compare import JUDGES
from benchmarks.judges import Panel, Scores
from benchmarks.native import report
from benchmarks.native.pictures import FacesOption, SeedsOption, load_pictures
from iqp_adapter.bench.intervals import People
from iqp_adapter.codes import Codes, Optimisation, best_of, optimise
from iqp_adapter.hooks import fixed
from iqp_adapter.host_codes import HostCodes
from iqp_adapter.scorer import reward_of

DRIVING = JUDGES[0]
STEPS = (0, 5, 10, 20, 40)
DISCRETE = (0.1, 0.3, 1.0)
CONTINUOUS = (0.01, 0.03, 0.1)
SAMPLES = (4, 16)

Reward = Callable[[Tensor], Tensor]


class Try(NamedTuple):
    """One way at one strength after some steps (or draws), and what it made of the pictures."""

    way: str
    strength: float
    steps: int
    restored: Tensor


def discrete(codes: HostCodes, logits: Codes, reward: Reward, rate: float) -> Iterator[Try]:
    for steps in STEPS:
        best, _ = optimise(logits, codes.decode, reward, Optimisation(steps, rate, leash=1.0))
        yield Try("discrete", rate, steps, decoded(codes, best[0]))


def continuous(codes: HostCodes, reward: Reward, rate: float) -> Iterator[Try]:
    """Adam on what is added to the looked-up codes, which then are codes no longer."""
    moved = Moved()
    handle = codes.host.get_submodule(codes.access.entry.path).register_forward_pre_hook(moved)
    try:
        codes.restore()  # only now is it known how large what is added has to be
        adam = torch.optim.Adam([moved.delta], lr=rate)
        for steps in range(STEPS[-1] + 1):
            restored = codes.restore().clamp(0, 1)
            if steps in STEPS:
                yield Try("continuous", rate, steps, restored.detach())
            adam.zero_grad()
            (-reward(restored)).sum().backward()
            adam.step()
    finally:
        handle.remove()


class Moved:
    """A hook that adds what is learned to a module's first argument."""

    delta: Tensor

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not hasattr(self, "delta"):
            self.delta = torch.zeros_like(arguments[0]).requires_grad_()
        return (arguments[0] + self.delta, *arguments[1:])


def drawn(codes: HostCodes, logits: Codes, reward: Reward, samples: int) -> Iterator[Try]:
    best = best_of(logits, codes.decode, reward, samples)
    yield Try("best of", samples, samples, decoded(codes, best[0]))


@torch.no_grad()
def decoded(codes: HostCodes, indices: Tensor) -> Tensor:
    entries = len(codes.access.codebook(codes.host))
    return codes.decode((one_hot(indices, entries).float(),))


def tries(model: iqp.WrappedHost, lq: Tensor, reward: Reward) -> Iterator[Try]:
    codes = model.codes_in(lq)
    with fixed(model.bare, model.adapters), model.conditioned(None):
        logits = (codes.logits(),)
        for rate in DISCRETE:
            yield from discrete(codes, logits, reward, rate)
        for rate in CONTINUOUS:
            yield from continuous(codes, reward, rate)
        for samples in SAMPLES:
            yield from drawn(codes, logits, reward, samples)


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    faces: FacesOption,
    host: str = "codeformer",
    seeds: SeedsOption = 1,
    out: report.OutOption = report.ROOT / "benchmarks/results/hosts",
) -> None:
    """Every way at every strength, judged after every few steps."""
    started, panel = time.perf_counter(), Panel(JUDGES)
    pictures = load_pictures(faces, small.RESOLUTION, seeds, **small.DEGRADATION)
    people, model = People(pictures.people), iqp.wrap(load_host(host, run))
    reward = reward_of(DRIVING, "cpu", differentiable=True)
    rows, before = [], panel(model.restore(pictures.degraded, quality=None), pictures.original)
    for tried in tries(model, pictures.degraded, reward):
        rows.append(row(tried, panel, people, panel(tried.restored, pictures.original), before))
        typer.echo(f"{tried.way} {tried.strength:g} {tried.steps}: {rows[-1][DRIVING].mean:+.2f}")
    content = {"host": host, "driving": DRIVING, "rows": rows, "judges": panel.describe()}
    content |= {"seconds": time.perf_counter() - started}
    report.write_json(out / f"{host}-optimisation.json", content | report.provenance(0, faces))
    report.write_text(out / f"{host}-optimisation.md", table(rows, panel))


def row(tried: Try, panel: Panel, people: People, scores: Scores, before: Scores) -> dict[str, Any]:
    """By how much every judge prefers the pictures to the bare host's, with its interval."""
    gains = {name: people.interval(panel.gain(name, scores[name], before[name])) for name in panel.judges}
    return {"way": tried.way, "strength": tried.strength, "steps": tried.steps, **gains}


def table(rows: list[dict[str, Any]], panel: Panel) -> str:
    head = ["way", "strength", "steps", *panel.judges]
    lines = [[str(one[name]) for name in head] for one in rows]
    note = "Gain over the bare host, higher is better for every judge. The first judge is the one that is optimised."
    return f"# Optimising at test time\n\n{report.markdown([head, *lines])}\n\n{note}\n"


if __name__ == "__main__":
    typer.run(main)
