"""How long a host learns: until its loss on dev stops improving, judged every so many steps, and logged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from iqp_adapter.cli.train import training_progress
from iqp_adapter.store import checkpoint
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.record import Record
from iqp_adapter.training.stages import Stage

LATE = 10**8
"""A step when whatever a stage does at first is over."""

LOG, BEST = "dev", "best"
"""Folders in that of a stage: the log of its loss on dev, and the weights with the least one."""


@dataclass(frozen=True)
class Course:
    """Trains stages of a run part by part; the same course goes on with what it has done.

    Args:
        every: steps from one judgement to the next.
        patience: minutes of training without a better loss after which a stage ends.
        budget: minutes of training after which it ends anyway.
        batch: pictures of an update.
    """

    every: int
    patience: float
    budget: float
    batch: int

    def learned(self, run: Run, name: str, make: Callable[[], Stage]) -> nn.Module:
        """The model of a stage that was best on dev.

        Args:
            name: of the stage.
            make: builds it as it is at its start; its learning rate must not depend on the number of steps.
        """
        record = Record(run.folder / name / LOG)
        while not self.over(record.rows()):
            step, started = len(record.rows()) * self.every + self.every, time.perf_counter()
            with training_progress(name, step) as progress:
                network = run.train(name, 0, lambda steps=step: self._stage(make, steps), progress)
            minutes = (time.perf_counter() - started) / 60
            loss = dev_loss(run, self._stage(make, step), network)
            best = min((row["loss"] for row in record.rows()), default=float("inf"))
            if loss < best:
                checkpoint.save(run.folder / name / BEST, network.state_dict(), {"stage": name, "step": step})
            record.row(step, {"loss": loss, "minutes": minutes})
            record.curves()
        [first, *_] = make().models().values()
        checkpoint.load_strict(first, checkpoint.load(run.folder / name / BEST)[1], source=str(run.folder / name))
        return first.to(run.device).eval()

    def over(self, rows: list[dict[str, Any]]) -> bool:
        """Whether a stage with these judgements has ended."""
        if not rows:
            return False
        best = min(range(len(rows)), key=lambda place: rows[place]["loss"])
        minutes = [row["minutes"] for row in rows]
        return sum(minutes[best + 1 :]) >= self.patience or sum(minutes) >= self.budget

    def _stage(self, make: Callable[[], Stage], steps: int) -> Stage:
        stage = make()
        stage.config = replace(stage.config, steps=steps, batch=self.batch, fall_to=1.0)
        return stage


@torch.no_grad()
def dev_loss(run: Run, stage: Stage, network: nn.Module) -> float:
    """The mean loss of a stage's first model on the watched pictures, each degraded once, as late in training."""
    [model, *_] = stage.models().values()
    model.to(run.device).load_state_dict(network.state_dict())
    model.eval()
    losses = []
    for batch in run.watched(stage.config.batch):
        _, terms = next(stage.updates(batch, LATE))
        losses.append(float(stage.together(terms)))
    return sum(losses) / len(losses)
