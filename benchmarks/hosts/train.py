"""Trains a small host of a real class on targets of mixed quality, as real training sets have them.

python -m benchmarks.hosts.train --host restoreformer --hq FACES/train --watch FACES/dev -o RUN

Differs from the papers: one stage from scratch instead of a dictionary of good faces first, and no adversary, so that
two cores are done in half an hour. The same command again goes on after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.hosts import small
from iqp_adapter import checkpoint
from iqp_adapter.cli.train import training_progress
from iqp_adapter.host import symmetric, to_unit
from iqp_adapter.training import losses
from iqp_adapter.training.config import RunConfig, StageConfig
from iqp_adapter.training.rng import torch_generator
from iqp_adapter.training.run import Run
from iqp_adapter.training.stages import Batch, Stage, Terms

SETTINGS = StageConfig(
    steps=1600, batch=8, rate=4e-4, ema=0.998, weights={"l1": 2.0, "perceptual": 0.15, "codebook": 0.25}
)


class HostStage(Stage):
    """A bare host learns to restore. Terms: l1, perceptual, and what its own codebook asks for."""

    defaults = {"revive_every": 50, "revive_until": 600}

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module):
        super().__init__(config, perceptual)
        self.host, self.quantised = host, _Quantised()

    def players(self) -> dict[str, nn.Module]:
        return {"host": self.host}

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        tap = self.host.quantize.register_forward_hook(self.quantised.keep)
        try:
            restored = to_unit(symmetric(self.host, batch.lq)[0]).float()
        finally:
            tap.remove()
        yield "host", {
            "l1": losses.l1(restored, batch.hq),
            "perceptual": self.perceptual(restored, batch.hq),
            "codebook": self.quantised.loss,
        }

    @torch.no_grad()
    def after_step(self, step: int) -> Terms:
        """Codes that this batch has not used become tokens of it, early on; the first time these are nearly all."""
        book = self.host.quantize.embedding.weight
        unused = torch.bincount(self.quantised.codes, minlength=len(book)) == 0
        if step % self.options["revive_every"] == 0 and step <= self.options["revive_until"]:
            order = torch.randperm(len(self.quantised.tokens), generator=torch_generator(step))
            book[unused] = self.quantised.tokens[order[: int(unused.sum())]].to(book)
        return {"codes": (~unused).sum()}

    def look(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        return {"lq": batch.lq, "restored": to_unit(symmetric(model, batch.lq)[0]).clamp(0, 1), "target": batch.hq}


class _Quantised:
    """What the codebook of a RestoreFormer said of the last batch."""

    loss: Tensor
    codes: Tensor
    tokens: Tensor

    def keep(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Any) -> None:
        _, self.loss, (_, _, codes, _) = output
        self.codes = codes.flatten()
        self.tokens = arguments[0].detach().permute(0, 2, 3, 1).flatten(0, 2)  # (B, D, h, w) -> (B * h * w, D)


def main(
    hq: Annotated[Path, typer.Option(help="folder of good, aligned faces")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the run")],
    host: str = "restoreformer",
    watch: Path | None = None,
    seed: int = 0,
) -> None:
    run = Run(RunConfig(seed=seed), small.RESOLUTION, hq, out, watch)
    build = getattr(small, host)
    with training_progress(host, SETTINGS.steps) as progress:
        network = run.train(host, 0, lambda: HostStage(SETTINGS, run.perceptual(), build()), progress)
    checkpoint.save(out / host / "model", network.state_dict(), {"host": host})


if __name__ == "__main__":
    typer.run(main)
