"""A training run of named stages, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from torch import nn

from .base_run import Run
from .config import AdapterConfig, TrainConfig
from .loop import Progress, silent
from .stages import Stage

ProgressOf = Callable[[str, int], AbstractContextManager[Progress]]
"""Opens the progress display of a stage, from its name and its number of steps."""


def no_display(name: str, steps: int) -> AbstractContextManager[Progress]:
    """Shows nothing."""
    return nullcontext(silent)


class StagedRun(Run):
    """Trains the stages of a configuration in their order.

    Each stage has a folder of its name in the folder of the run: for its log and checkpoint, and `model` for its
    weights. A stage starts from the weights of the one before.
    """

    config: TrainConfig | AdapterConfig

    def run(self, progress: ProgressOf = no_display) -> Path:
        """Trains or resumes every stage, and returns the folder with the weights of the last one."""
        for name in self.config.stages:
            folder = self.run_stage(name, progress)
        return folder

    def run_stage(self, name: str, progress: ProgressOf = no_display) -> Path:
        """Trains or resumes one stage, and returns the folder with its weights.

        Raises:
            ValueError: for a loss weight or an option that a stage of the configuration does not have.
            FileNotFoundError: if the stage before is not finished.
        """
        for each, settings in self.config.stages.items():
            self.kind(each).check(settings)
        self.prepare(name, progress)
        number = list(self.config.stages).index(name) + 1
        with progress(name, self.config.stages[name].steps) as update:
            model = self.train(name, number, lambda: self.stage(name), update)
        folder = self.folder / name / "model"
        if self.accelerator.is_main_process:
            self.save(name, model, folder)
        self.accelerator.wait_for_everyone()
        return folder

    def prepare(self, name: str, progress: ProgressOf) -> None:
        """Does what has to be done before a stage is trained or resumed."""

    def before(self, name: str) -> Path | None:
        """The folder with the weights of the stage before; None for the first stage.

        Raises:
            FileNotFoundError: if the stage before is not finished.
        """
        names = list(self.config.stages)
        if name == names[0]:
            return None
        before = names[names.index(name) - 1]
        folder = self.folder / before / "model"
        if not folder.exists():
            raise FileNotFoundError(self.unfinished(before))
        return folder

    def unfinished(self, name: str) -> str:
        """The error message for a stage that has no weights yet although a later one needs them."""
        return f"{name} is not finished in {self.folder}; run it first"

    def kind(self, name: str) -> type[Stage]:
        """The class of a stage."""
        raise NotImplementedError

    def stage(self, name: str) -> Stage:
        """A stage at its start."""
        raise NotImplementedError

    def save(self, name: str, model: nn.Module, folder: Path) -> None:
        """Saves the averaged model of a stage."""
        raise NotImplementedError
