"""The one training loop: updates of every model, averaged weights, checkpoints that survive a kill, and a log."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..store.words import message_of, said_by, wants_memory
from .config import StageConfig
from .record import Record
from .stages import Batch, Stage, Terms
from .state import load_state, save_state

logger = logging.getLogger(__name__)

Batches = Callable[[int], Iterator[Batch]]
"""Gives the stream of batches from a step on. A step has the same batch wherever the stream starts."""

Progress = Callable[[int, dict[str, float]], None]
"""Takes the number of steps done and the newest loss terms."""


def silent(step: int, terms: dict[str, float]) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class Pace:
    """Steps between two log rows, two checkpoints and two sample grids; checkpoints fall on logged steps."""

    log: int = 10
    save: int = 100
    watch: int = 200


class Loop:
    """Runs one stage from its last checkpoint, or from the start, to its end.

    Every random draw is keyed by step or sample, and the checkpoint holds everything else. A run that was killed
    therefore ends with the same weights, bit for bit on a CPU.

    Args:
        stage: what is learned.
        batches: gives the stream of batches from a step on.
        watched: a fixed batch whose restorations the sample grids show.
        folder: for checkpoint, log, curves and grids.
        accelerator: device, precision and processes.
        pace: how often the loop writes.

    Raises:
        ValueError: for a checkpoint that is damaged, with the one before it, or not of these models.
    """

    def __init__(
        self, stage: Stage, batches: Batches, watched: Batch, folder: Path, accelerator: Accelerator, pace: Pace
    ):
        self.stage, self.batches, self.watched, self.pace = stage, batches, watched, pace
        self.config: StageConfig = stage.config
        self.folder, self.accelerator = folder, accelerator
        models = stage.models()
        self.learners = {name: _Learner(name, model, self.config, stage.rates) for name, model in models.items()}
        first = next(iter(models.values()))
        self.averaged = AveragedModel(first, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema))
        self.step = self._resume()
        self.record = Record(folder, resume_at=self.step) if accelerator.is_main_process else None

    def run(self, progress: Progress = silent) -> nn.Module:
        """Trains to the last step and returns the averaged model in eval mode; calls `progress` after every step.

        Raises:
            FloatingPointError: where losses, gradients or weights are not finite any more; the checkpoint stays.
            MemoryError: where a step needs more memory than there is.
        """
        self._since = time.perf_counter()
        window: dict[str, list[Tensor]] = {}
        batches = self.batches(self.step)
        while self.step < self.config.steps:
            with self._saying_what_saves_memory():
                terms = self._update(islice(batches, self.config.accumulate))
            self.step += 1
            for name, value in terms.items():
                window.setdefault(name, []).append(value.detach().float())
            progress(self.step, {name: float(values[-1]) for name, values in window.items()})
            self._write(window)
        return self.averaged.module.eval()

    @contextmanager
    def _saying_what_saves_memory(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not wants_memory(error):
                raise
            raise MemoryError(
                f"no memory for a step of {self.folder.name} with batch {self.config.batch}; give a smaller batch and "
                f"a larger accumulate, and train in another folder, or on another device ({said_by(error)})"
            ) from error

    def _update(self, batches: Iterator[Batch]) -> Terms:
        count, means = self.config.accumulate, defaultdict[str, Tensor](lambda: torch.zeros(()))
        for part, batch in enumerate(batches, 1):
            for name, value in self._learn(batch, last=part == count).items():
                means[name] = means[name] + value.detach() / count
        self.averaged.update_parameters(next(iter(self.learners.values())).model)
        return means | self.stage.after_step(self.step)

    def _learn(self, batch: Batch, last: bool) -> Terms:
        """Adds the gradients of one batch to every model; after the last batch of a step its optimiser steps."""
        seen: Terms = {}
        updates = self.stage.updates(batch, self.step)
        while True:
            with self.accelerator.autocast():
                update = next(updates, None)
            if update is None:
                return seen
            name, terms = update
            loss = self.stage.together(terms)
            self._check(loss, terms)
            self.learners[name].add_gradient(loss / self.config.accumulate, self.accelerator)
            if last and not self.learners[name].take_step(self.step, self.accelerator):
                raise self._gone_wrong(f"the gradient of {name} is")
            seen |= terms

    def _check(self, loss: Tensor, terms: Terms) -> None:
        if not bool(loss.isfinite()):
            bad = ", ".join(name for name, value in terms.items() if not bool(value.isfinite())) or "sum"
            raise self._gone_wrong(f"the loss ({bad}) is")

    def _write(self, window: dict[str, list[Tensor]]) -> None:
        if self.record is None:
            return
        last = self.step == self.config.steps
        if self.step % self.pace.log == 0 or last:
            self._row(self.record, {name: float(torch.stack(values).mean()) for name, values in window.items()})
            window.clear()
        if self.step % self.pace.save == 0 or last:
            self._note_time(self.record)
            self._save()
        if self.step % self.pace.watch == 0 or last:
            self._draw(self.record)

    def _draw(self, record: Record) -> None:
        """Draws the loss curves, and a grid of what the averaged model makes of the watched batch."""
        model = self.averaged.module
        model.eval()
        with torch.no_grad():
            rows = self.stage.look(model, self.watched)
            results = self.stage.results(rows)
        record.grid(f"step_{self.step:06d}", list(rows.values()), list(rows))
        if results:
            self._row(record, {name: float(value) for name, value in results.items()})
        record.curves()

    def _row(self, record: Record, values: dict[str, float]) -> None:
        """Adds a row to the log, and to trackers where there are some."""
        record.row(self.step, values)
        self.accelerator.log(values, step=self.step)

    def _note_time(self, record: Record) -> None:
        now = time.perf_counter()
        record.took(self.step, now - self._since)
        self._since = now

    def _save(self) -> None:
        """Replaces the checkpoint, unless training has gone wrong since."""
        for name, learner in self.learners.items():
            if wrong := next((path for path, value in learner.model.named_parameters() if not _is_finite(value)), None):
                raise self._gone_wrong(f"{name}.{wrong} is")
        models = {name: learner.state_dict() for name, learner in self.learners.items()}
        save_state(self.folder, {"step": self.step, "models": models, "averaged": self.averaged.state_dict()})

    def _resume(self) -> int:
        state = load_state(self.folder)
        if state is None:
            return 0
        try:
            for name, learner in self.learners.items():
                learner.load_state_dict(state["models"][name])
            self.averaged.load_state_dict(state["averaged"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if wants_memory(error):
                raise
            raise ValueError(
                f"the state in {self.folder} is of another model ({message_of(error):.200}); train elsewhere"
            ) from error
        logger.info("resuming %s at step %d", self.folder, state["step"])
        return state["step"]

    def _gone_wrong(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} not finite at step {self.step}; the last checkpoint in {self.folder} is good: set precision fp32 "
            "and run the same command again, or lower the stage's rate and train in another folder"
        )


def _is_finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())


class _Learner:
    """A model with its optimiser; each group of parameters has its own share of the configured rate."""

    def __init__(self, name: str, model: nn.Module, config: StageConfig, rates: Mapping[str, float]):
        self.model, self.config = model, config
        groups: dict[float, list[nn.Parameter]] = {}
        for path, parameter in model.named_parameters():
            if parameter.requires_grad:
                words = (path.rpartition(".")[2], path.partition(".")[0], name)
                share = next((rates[word] for word in words if word in rates), 1.0)
                groups.setdefault(share, []).append(parameter)
        self.learning = [parameter for group in groups.values() for parameter in group]
        shares = [{"params": group, "share": share} for share, group in groups.items()]
        self.optimiser = torch.optim.AdamW(shares, lr=config.rate, betas=(0.9, 0.99), weight_decay=config.decay)

    def add_gradient(self, loss: Tensor, accelerator: Accelerator) -> None:
        """Adds the gradient of a loss to this model alone, and not to others that the loss passes through.

        Raises:
            ValueError: where it has none.
        """
        if loss.requires_grad:
            accelerator.backward(loss, inputs=self.learning)
        if all(parameter.grad is None for parameter in self.learning):
            raise ValueError(
                "nothing that is trained reaches the loss of this stage; leave it out, or give its terms a gradient"
            )

    def take_step(self, step: int, accelerator: Accelerator) -> bool:
        """Takes a step of the optimiser, unless the gradient is not finite; says whether it did."""
        _average_gradients(self.learning, accelerator)
        if not _is_finite(nn.utils.clip_grad_norm_(self.learning, self.config.clip)):
            return False
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate * group["share"] * rate_share(step, self.config)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return True

    def state_dict(self) -> dict[str, object]:
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


def rate_share(step: int, config: StageConfig) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine down to its end."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.fall_to + (1 - config.fall_to) / 2 * (1 + math.cos(math.pi * min(done, 1.0)))


def _average_gradients(parameters: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Averages gradients over processes in one message, so that stages may call their models in any way."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    mean = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
    for parameter, part in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
