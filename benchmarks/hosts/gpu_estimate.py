"""An estimate of what training on hosts of full size, at 512 px, would take on one GPU: hours and memory.

python -m benchmarks.hosts.gpu_estimate

One update on one picture runs here, on the CPU. Of it are counted the operations of products and convolutions, and the
bytes that are kept for the backward pass. The hours follow from what the GPU does at its best (`--teraflops`; 312 is an
A100 in bf16) and from the share of it that is reached, for which two values are assumed. No GPU runs. Weights and
pictures are random, which changes no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

import iqp_adapter as iqp
from benchmarks.common.one_update import one_update
from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.hosts.adapt import FineTuning
from benchmarks.hosts.recipes import FURTHER, RECIPES, Adapted
from benchmarks.wrap.full_size import ALL, HostOption, build, pictures
from iqp_adapter.bench.text import table
from iqp_adapter.hosts.registry import hosts
from iqp_adapter.hosts.wrap import CODES
from iqp_adapter.scoring.perceptual import perceptual_distance
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.training.adapter_stages import kind_of_stage
from iqp_adapter.training.guard import Guard
from iqp_adapter.training.stages import Stage

REWARD = "strong"
"""The recipe that is counted: a reward alone, without the bare host that `coarse` would run beside it."""

REACHED = (0.2, 0.4)
"""Assumed shares of the GPU's best that training reaches."""

LEARNING = 4
"""Numbers beside each weight that learns: its gradient, two of Adam, and its average."""


class Work(NamedTuple):
    """What a stage trains with.

    Attributes:
        networks: those that it runs, but for the small one of the metric.
    """

    stage: Stage
    networks: list[nn.Module]


class Counts(NamedTuple):
    """Of one update.

    Attributes:
        operations: multiplications and additions.
        kept: bytes kept for the backward pass.
        fixed: bytes of weights, and of what belongs to those that learn.
        learning: weights that learn.
        peak: of the process that made three updates on the CPU, MiB.
    """

    operations: int
    kept: int
    fixed: int
    learning: int
    peak: float


def adapter(name: str) -> Work:
    """That of a host that decides codes steers them, which costs more than what acts behind them."""
    host, perceptual = build(name), perceptual_distance("lite0")
    sites = CODES if hosts()[name].code_sites else None
    recipe, model = RECIPES[REWARD], iqp.wrap(host, sites=sites)
    assert isinstance(recipe, Adapted)
    kind = kind_of_stage("reward", recipe.learns, steers_codes=sites is not None)
    stage = kind(recipe.stages["reward"], perceptual, model, Guard(Scorer("iqp-lite"), []))
    return Work(stage, [host, model, perceptual])


def whole_host(name: str) -> Work:
    host, perceptual = build(name), perceptual_distance("lite0")
    teacher = deepcopy(host).requires_grad_(False) if hosts()[name].codes else None
    stage = FineTuning(FURTHER, perceptual, host, hosts()[name], teacher)
    return Work(stage, [host, perceptual, *([teacher] if teacher else [])])


WAYS: dict[str, Callable[[str], Work]] = {
    "an adapter, by the reward": adapter,
    "the whole host, by targets": whole_host,
}


@contextmanager
def kept(but: set[int]) -> Iterator[dict[int, int]]:
    """Bytes that are kept for backward passes in the block, by storage, but for these storages."""
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in but:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with saved_tensors_hooks(note, lambda tensor: tensor):
        yield found


def count(name: str, way: str, threads: int) -> Counts:
    """Of a host of full size."""
    torch.set_num_threads(threads)
    stage, networks = WAYS[way](name)
    update = one_update(stage, pictures() / 2 + 0.5)
    state = {value.data_ptr(): value for net in networks for value in chain(net.parameters(), net.buffers())}
    with FlopCounterMode(display=False) as counter, kept(set(state)) as found:
        update()
    learning = [value for model in stage.models().values() for value in model.parameters() if value.requires_grad]
    fixed = sum(value.nbytes for value in state.values()) + LEARNING * sum(value.nbytes for value in learning)
    for _ in range(2):
        update()
    numbers = sum(value.numel() for value in learning)
    return Counts(counter.get_total_flops(), sum(found.values()), fixed, numbers, peak_memory())


def estimate(counts: Counts, samples: int, batch: int, teraflops: float) -> dict[str, Any]:
    """Hours of a training, from the most to the least, and GiB at a batch."""
    hours = [counts.operations * samples / (teraflops * 1e12 * share) / 3600 for share in REACHED]
    return {"hours": hours, "GiB": (counts.fixed + batch * counts.kept) / 2**30}


def rows_of(facts: dict[str, dict[str, dict[str, Any]]]) -> Iterator[list[str]]:
    yield ["host", "what learns", "million weights", "TFLOP a picture", "MiB a picture", "GiB", "hours"]
    for name, ways in facts.items():
        for way, one in ways.items():
            most, least = one["estimate"]["hours"]
            cells = [f"{one['learning'] / 1e6:.1f}", f"{one['operations'] / 1e12:.2f}", f"{one['kept'] / 2**20:.0f}"]
            yield [name, way, *cells, f"{one['estimate']['GiB']:.1f}", f"{least:.2g} to {most:.2g}"]


def main(
    host: HostOption = ALL,
    steps: Annotated[int, typer.Option(min=1)] = 20_000,
    batch: Annotated[int, typer.Option(min=1, help="pictures of an update")] = 16,
    at_once: Annotated[int, typer.Option(min=1, help="pictures on the GPU at once")] = 4,
    teraflops: Annotated[float, typer.Option(help="of the GPU at its best")] = 312.0,
    threads: int = 2,
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Counts, and writes the estimate."""
    guess = partial(estimate, samples=steps * batch, batch=at_once, teraflops=teraflops)
    facts: dict[str, dict[str, dict[str, Any]]] = {}
    for name in host:
        counted = {way: alone(count, name, way, threads) for way in WAYS}
        facts[name] = {way: {**one._asdict(), "estimate": guess(one)} for way, one in counted.items()}
    settings = {"steps": steps, "batch": batch, "at once": at_once, "teraflops": teraflops, "reached": REACHED}
    note = (
        f"**An estimate: no GPU ran.** {steps:,} updates of {batch} pictures, {at_once} at once, on a GPU that does "
        f"{teraflops:g} TFLOPS at its best, of which {REACHED[0]:.0%} to {REACHED[1]:.0%} are assumed to be reached. "
        "Operations and bytes are counted on one update of one picture of 512 px in fp32; autocast keeps less. "
        "Reading pictures, evaluation and what the GPU's libraries need come on top."
    )
    write_json(out / "gpu_estimate.json", {"settings": settings, "hosts": facts} | provenance(0))
    write_text(
        out / "gpu_estimate.md", f"# Training at full size on one GPU\n\n{note}\n\n{table(list(rows_of(facts)))}\n"
    )


if __name__ == "__main__":
    typer.run(main)
