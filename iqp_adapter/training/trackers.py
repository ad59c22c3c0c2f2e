"""Trackers: TensorBoard, wandb, trackio and whatever else accelerate can log to, beside the files of a run.

Every stage is a tracker run of its own, since its steps start at 1. Where a stage goes on from a checkpoint, so does
its run in TensorBoard, wandb and trackio; other trackers begin a new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType

from ..store.files import atomic_path
from .config import StageConfig

Tracker: TypeAlias = str | GeneralTracker
"""A tracker by accelerate's name for it, or an object of a class of your own."""

FOLDER, ID = "trackers", "id"
"""In the folder of a stage, what trackers write on this machine, and the name of its run there."""


def available(trackers: Sequence[Tracker]) -> list[Tracker] | None:
    """The trackers, as `Accelerator(log_with=...)` takes them.

    Raises:
        ValueError: for a name that accelerate does not know.
        ImportError: where a tracker's package is missing.
    """
    for tracker in trackers:
        if isinstance(tracker, GeneralTracker):
            continue
        if tracker not in LOGGER_TYPE_TO_CLASS:
            raise ValueError(f"unknown tracker {tracker!r}; accelerate knows {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
        if tracker in LoggerType.list() and LoggerType(tracker) not in get_available_trackers():
            raise ImportError(f"the tracker {tracker} needs a package that is missing: pip install {tracker}")
    return list(trackers) or None


@contextmanager
def tracked(accelerator: Accelerator, folder: Path, step: int, config: StageConfig) -> Iterator[None]:
    """Within it `accelerator.log` reaches the trackers of the accelerator, on its main process.

    Args:
        folder: of the stage, in that of the run; the trackers' project has the name of that one.
        step: that the stage goes on from, 0 for a new one.
        config: settings of the stage, which trackers show.
    """
    if accelerator.log_with and accelerator.is_main_process:
        place = folder / FOLDER
        place.mkdir(exist_ok=True)
        accelerator.project_configuration.logging_dir = str(place)
        project = re.sub(r"[^\w.-]+", "-", folder.resolve().parent.name)
        accelerator.init_trackers(project, _plain(asdict(config)) if step == 0 else None, _going_on(place, step))
    try:
        yield
    finally:  # not by `end_training`, which would end the processes' group before the next stage
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers.clear()


def _going_on(place: Path, step: int) -> dict[str, dict[str, Any]]:
    """Arguments with which trackers go on in the run of this stage, after the rows up to a step."""
    stage, name = place.parent.name, _id(place, step)
    return {
        "tensorboard": {"purge_step": step + 1},
        "wandb": {"id": name, "name": stage, "resume": "allow", "dir": str(place)},
        "trackio": {"name": f"{stage}-{name}", "resume": "allow"},
    }


def _id(place: Path, step: int) -> str:
    """Of the run of this stage: a new one where it starts, so that a run that was begun again is not mixed with it."""
    file = place / ID
    if step and file.exists():
        return file.read_text(encoding="utf-8")
    with atomic_path(file) as path:
        path.write_text(uuid4().hex[:12], encoding="utf-8")
    return file.read_text(encoding="utf-8")


def _plain(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Settings without nesting, as trackers take them: `weights.l1`, `options.pictures`."""
    plain: dict[str, Any] = {}
    for name, value in settings.items():
        plain |= _plain(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return plain
