"""What every training run shares: a folder, a data set, a score scale, and the loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..core.metrics import canonical, members
from ..core.quality import ScoreScale
from ..degradations.checks import attributes
from ..degradations.kinds import degradation_of
from ..degradations.ladder import Ladder
from ..degradations.rng import torch_generator
from ..scoring.perceptual import perceptual_distance
from ..scoring.scales import say_stale
from ..scoring.scorer import Scorer
from ..store.files import atomic_path
from ..store.reading import json_file
from .config import RunConfig, StageConfig
from .dataset import Augmentation, FaceFolder, FacePairs, KeyedBatches
from .loop import Loop, Pace, Progress, silent
from .record import write_environment
from .resuming import SETTINGS, check_same, identity, keep
from .stages import Batch, Stage
from .state import is_there

SCALE = "score_scale.json"


class Run:
    """One training run on a folder of good face pictures.

    Args:
        config: settings of the run.
        resolution: side of the training pictures, in pixels.
        hq: folder of good, aligned face pictures.
        folder: for everything that the run writes; with the same folder the run resumes.
        watch: folder of the pictures that the sample grids show; by default `hq`.
        lq: folder with a degraded picture for every picture in `hq`; without it training degrades them itself.

    Raises:
        ValueError: for a folder in which something was trained with other settings or data.
    """

    memory_format = torch.channels_last
    """Of the pictures, in which convolutions are fast."""

    def __init__(
        self,
        config: RunConfig,
        resolution: int,
        hq: Path,
        folder: Path,
        watch: Path | None = None,
        lq: Path | None = None,
    ):
        self.config = replace(config, metric=canonical(config.metric))
        self.resolution, self.folder = resolution, folder
        self.accelerator = Accelerator(mixed_precision="no" if config.precision == "fp32" else config.precision)
        self.scorer = Scorer(config.metric, device=self.device)
        self.data = self._dataset(hq, lq, Augmentation())
        self.identity = identity(self.data)
        self._keep_settings()
        self.watched_data = self._dataset(watch or hq, None if watch else lq, None)
        self.scale = self._score_scale()

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def perceptual(self) -> nn.Module:
        return perceptual_distance(self.config.perceptual).to(self.device)

    @property
    def ingredients(self) -> dict[str, Any]:
        """What the weights come from besides settings and data; a run goes on with the same alone."""
        return {}

    def train(self, name: str, number: int, make: Callable[[], Stage], progress: Progress = silent) -> nn.Module:
        """Trains or resumes a stage and returns its averaged model.

        Args:
            name: of the stage's folder in the folder of the run.
            number: gives each stage of a run its own random draws.
            make: builds the stage, with the global random generator seeded.
            progress: called after every step.

        Raises:
            ValueError: for a stage that was begun with other settings, and for a damaged state.
            FloatingPointError: where losses, gradients or weights are not finite any more.
        """
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed + number)
            stage = make()
        for model in stage.models().values():
            model.to(self.device).to(memory_format=stage.memory_format)
        settings = asdict(stage.config) | {"batch": stage.config.batch * self.accelerator.num_processes}
        check_same(folder, settings, begun=is_there(folder))
        pace = Pace(save=self.config.save_every, watch=self.config.watch_every)
        loop = Loop(stage, self._batches(stage.config, number), self._watched(), folder, self.accelerator, pace)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and loop.step < stage.config.steps:
            keep(folder, settings)
            write_environment(folder, self.config, stage.config, self.identity, loop.step)
        return loop.run(progress)

    def _keep_settings(self) -> None:
        """Refuses other settings than those of the run; where nothing was trained yet, they are taken."""
        shared = self.config.of_every_stage | {"resolution": self.resolution, "data": self.identity} | self.ingredients
        if members(self.config.metric):
            shared["scales of members"] = self.scorer.protocol.rpartition("/")[2]
        begun = any(is_there(folder) for folder in self.folder.glob("*/"))
        new, others = check_same(self.folder, shared, begun), (self.folder / SETTINGS).exists()
        self.accelerator.wait_for_everyone()
        if new and self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            if others:
                (self.folder / SCALE).unlink(missing_ok=True)  # it was fitted under them
            keep(self.folder, shared)

    def _dataset(self, root: Path, lq: Path | None, augmentation: Augmentation | None) -> FaceFolder:
        shared: dict[str, Any] = {
            "ladder": Ladder(**attributes(Ladder, "ladder", self.config.ladder)),
            "augmentation": augmentation,
            "seed": self.config.seed,
        }
        if lq is not None:
            return FacePairs(root, lq, self.resolution, **shared)
        degradation = degradation_of(self.resolution, **self.config.degradation)
        return FaceFolder(root, self.resolution, degradation=degradation, **shared)

    def _batches(self, config: StageConfig, number: int) -> Callable[[int], Iterator[Batch]]:
        def stream(start: int) -> Iterator[Batch]:
            order = KeyedBatches(
                len(self.data),
                config.batch,
                seed=self.config.seed + number,
                start_step=start * config.accumulate,
                rank=self.accelerator.process_index,
                world_size=self.accelerator.num_processes,
            )
            loader = DataLoader(
                self.data,
                batch_sampler=order,
                num_workers=self.config.workers,
                generator=torch_generator(self.config.seed),
            )
            for samples in loader:
                yield self._batch(samples)

        return stream

    def _batch(self, samples: dict[str, Tensor]) -> Batch:
        device = self.device
        hq, lq = (samples[key].to(device, memory_format=self.memory_format) for key in ("hq", "lq"))
        with torch.no_grad():
            quality = self.scale.quality(self.scorer(hq))
        return Batch(hq, lq, quality, samples["key"].tolist())

    def _watched(self) -> Batch:
        chosen = [
            self.watched_data[0, index]
            for index in range(0, len(self.watched_data), max(len(self.watched_data) // 6, 1))
        ]
        return self._batch(torch.utils.data.default_collate(chosen[:6]))

    def _score_scale(self) -> ScoreScale:
        """Fits the score scale once, on targets as training draws them; every stage reads it from its file."""
        path = self.folder / SCALE
        if not path.exists() and self.accelerator.is_main_process:
            scores = torch.cat([self._scores(first) for first in range(0, 512, 8)])
            scale = ScoreScale.fit(self.config.metric, self.scorer.lower_better, scores)
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(scale.to_dict()), encoding="utf-8")
        self.accelerator.wait_for_everyone()
        return self._read_scale(path)

    def _read_scale(self, path: Path) -> ScoreScale:
        try:
            saved = json_file(path)
            scale = ScoreScale.from_dict(saved)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); remove it, and it is fitted again to the same pictures"
            ) from error
        if scale.metric != self.config.metric:
            raise ValueError(
                f"{path} is of {scale.metric}, and metric is {self.config.metric}; give `metric: {scale.metric}` to go "
                "on, or train in another folder"
            )
        say_stale(str(path), saved["metric"])
        return scale

    @torch.no_grad()
    def _scores(self, first: int) -> Tensor:
        samples = [self.data[divmod(draw, len(self.data))] for draw in range(first, first + 8)]
        return self.scorer(torch.stack([sample["hq"] for sample in samples]).to(self.device)).cpu()
