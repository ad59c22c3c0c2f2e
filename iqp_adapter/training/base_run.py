"""What every training run shares: a folder, sets of faces with their score scales, and the loop."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..core.metrics import canonical, members
from ..core.quality import ScoreScale
from ..degradations.checks import attributes
from ..degradations.kinds import degradation_of
from ..degradations.ladder import Ladder
from ..degradations.rng import sample_seed, torch_generator
from ..scoring.perceptual import perceptual_distance
from ..scoring.scales import named_scale, read_scale, say_stale, scales_of_members
from ..scoring.scorer import Scorer
from ..store.files import atomic_path
from ..store.reading import Fields, json_file
from .augmentation import Augmentation
from .config import RunConfig, StageConfig
from .dataset import CACHE, FaceFolder, FacePairs, KeyedBatches
from .face_sets import FaceSets, set_names
from .loop import Loop, Pace, Progress, silent
from .record import write_environment
from .resuming import SETTINGS, check_same, identity_of_sets, keep
from .sample_scales import SampleScales
from .stages import Batch, Stage
from .state import is_there
from .trackers import Tracker, available, tracked

logger = logging.getLogger(__name__)

SCALE = "score_scale.json"
DRAWS = 512
"""Targets of a set whose scores make its scale."""

LEAST_SPREAD = 1e-6
"""Of a score scale, as a share of its worst score; less is the rounding of one score. Losses divide by the spread."""

Folders = Path | Sequence[Path]
"""One folder, or several."""


class Run:
    """One training run on one or several sets of good face pictures.

    Sets differ in content, not only in quality. So each has a score scale of its own, and the quality of a target is
    that within its own set. Where the settings name a published scale, it is that of every set.

    Args:
        config: settings of the run.
        resolution: side of the training pictures, in pixels.
        hq: folder of good, aligned face pictures; of several, each is a set, named after it as `set_names` does.
        folder: for everything that the run writes; with the same folder the run resumes.
        watch: folder of the pictures that the sample grids show, or several; by default `hq`.
        lq: folder with a degraded picture for every picture in `hq`; without it training degrades them itself. One
            for each folder of `hq`, in the same order.
        log_with: trackers beside the files, by accelerate's names for them ("tensorboard", "wandb"); any may be added
            or left out where a run goes on.

    Attributes:
        scales: the score scale of each set, by its name.
        scale: that of all sets together, in their shares of the samples.

    Raises:
        ValueError: for a folder in which something was trained with other settings or data, for folders of `hq` and
            `lq` that do not match, for shares of other sets, for pictures that all have one score, and for a tracker
            of an unknown name.
        ImportError: where a tracker's package is missing.
    """

    memory_format = torch.channels_last
    """Of the pictures, in which convolutions are fast."""
    scored_side: int | None = None
    """Side to which pictures are reduced before they are scored, where stages have pictures of several sizes."""

    def __init__(
        self,
        config: RunConfig,
        resolution: int,
        hq: Folders,
        folder: Path,
        watch: Folders | None = None,
        lq: Folders | None = None,
        log_with: Sequence[Tracker] = (),
    ):
        self.config = replace(config, metric=canonical(config.metric))
        self.resolution, self.folder = resolution, folder
        project = ProjectConfiguration(logging_dir=str(folder))
        precision = "no" if config.precision == "fp32" else config.precision
        self.accelerator = Accelerator(mixed_precision=precision, log_with=available(log_with), project_config=project)
        scales = scales_of_members(self.config.metric, config.scales) if config.scales else {}
        self.scorer = Scorer(config.metric, device=self.device, scales=scales, side=self.scored_side)
        self._sources, self._watched_sources = (hq, lq), (watch or hq, None if watch else lq)
        self.data = self._training_data(resolution)
        self.identity = identity_of_sets(self.data.folders)
        self._keep_settings()
        self.watched_data = self._watched_at(resolution)
        self.scales = self._score_scales()
        self.scale = ScoreScale.mixture(list(self.scales.values()), list(self.data.draws.values()))
        self._watched_scales = list(self.scales.values())
        if watch:
            self._watched_scales = [self.scale] * len(self.watched_data.folders)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def set_scales(self) -> dict[str, ScoreScale]:
        """What a model keeps beside its score scale: the scales of sets, where they differ."""
        return self.scales if len(set(self.scales.values())) > 1 else {}

    def perceptual(self) -> nn.Module:
        return perceptual_distance(self.config.perceptual).to(self.device)

    @property
    def ingredients(self) -> dict[str, Any]:
        """What the weights come from besides settings and data; a run goes on with the same alone."""
        return {}

    def side_of(self, name: str) -> int:
        """Side of the pictures that a stage is trained on, in pixels."""
        return self.resolution

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
            MemoryError: where a step needs more memory than there is.
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
        data, shown = self._data_of(name)
        batches = self._batches(data, stage.config, number)
        loop = Loop(stage, batches, self._watched(shown), folder, self.accelerator, pace)
        self.accelerator.wait_for_everyone()
        if loop.step == stage.config.steps:
            return loop.run(progress)
        if self.accelerator.is_main_process:
            keep(folder, settings)
            write_environment(folder, self.config, stage.config, self.identity, loop.step)
        with tracked(self.accelerator, folder, loop.step, stage.config):
            return loop.run(progress)

    def _keep_settings(self) -> None:
        """Refuses other settings than those of the run; where nothing was trained yet, they are taken."""
        shared = self.config.of_every_stage | {"resolution": self.resolution, "data": self.identity} | self.ingredients
        del shared["scales"]  # the file may be moved; what it says counts
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

    def _data_of(self, name: str) -> tuple[FaceSets, FaceSets]:
        """What a stage is trained on, and what its sample grids show."""
        side = self.side_of(name)
        if side == self.resolution:
            return self.data, self.watched_data
        return self._training_data(side), self._watched_at(side)

    def _training_data(self, side: int) -> FaceSets:
        return FaceSets(self._sets(*self._sources, self._augmentation(), side), self.config.shares)

    def _watched_at(self, side: int) -> FaceSets:
        return FaceSets(self._sets(*self._watched_sources, None, side))

    def _sets(
        self, hq: Folders, lq: Folders | None, augmentation: Augmentation | None, side: int
    ) -> dict[str, FaceFolder]:
        """Each set by its name, in alphabetical order; several have draws of their own, and share the memory."""
        roots = _several(hq)
        inputs: Sequence[Path | None] = [None] * len(roots) if lq is None else _several(lq)
        if len(inputs) != len(roots):
            raise ValueError(
                f"{len(inputs)} folders of lq for {len(roots)} of hq; give one for each, in the same order"
            )
        sets: dict[str, FaceFolder] = {}
        for name, root, partners in sorted(zip(set_names(roots), roots, inputs, strict=True), key=lambda each: each[0]):
            seed = sample_seed(self.config.seed, 0, 0, "set", name) if len(roots) > 1 else self.config.seed
            shared = {"augmentation": augmentation, "seed": seed, "cache_bytes": CACHE // len(roots)}
            sets[name] = self._folder(root, partners, side, shared | {"smallest": self.resolution})
        return sets

    def _augmentation(self) -> Augmentation:
        return Augmentation(**attributes(Augmentation, "augmentation", self.config.augmentation))

    def _folder(self, root: Path, lq: Path | None, side: int, shared: dict[str, Any]) -> FaceFolder:
        ladder = Ladder(**attributes(Ladder, "ladder", self.config.ladder))
        if lq is not None:
            return FacePairs(root, lq, side, ladder=ladder, **shared)
        degradation = degradation_of(side, **self.config.degradation)
        return FaceFolder(root, side, degradation=degradation, ladder=ladder, **shared)

    def _batches(self, data: FaceSets, config: StageConfig, number: int) -> Callable[[int], Iterator[Batch]]:
        def stream(start: int) -> Iterator[Batch]:
            order = KeyedBatches(
                len(data),
                config.batch,
                seed=self.config.seed + number,
                start_step=start * config.accumulate,
                rank=self.accelerator.process_index,
                world_size=self.accelerator.num_processes,
            )
            loader = DataLoader(
                data,
                batch_sampler=order,
                num_workers=self.config.workers,
                generator=torch_generator(self.config.seed),
            )
            for samples in loader:
                yield self._batch(samples, self.scales.values())

        return stream

    def _batch(self, samples: dict[str, Tensor], scales: Iterable[ScoreScale]) -> Batch:
        device = self.device
        hq, lq = (samples[key].to(device, memory_format=self.memory_format) for key in ("hq", "lq"))
        scale = SampleScales(tuple(scales), samples["set"].to(device))
        with torch.no_grad():
            scores = samples["score"].to(device) if "score" in samples else self.scorer(hq)
        codes = tuple(samples["codes"].to(device).unbind(1)) if "codes" in samples else ()
        return Batch(hq, lq, scale.quality(scores), samples["key"].tolist(), scale, samples["full"].to(device), codes)

    def watched(self, size: int) -> Iterator[Batch]:
        """Every picture of `watch` under one degradation, in batches of that size."""
        data = self.watched_data
        for first in range(0, len(data), size):
            samples = [data[0, index] for index in range(first, min(first + size, len(data)))]
            yield self._batch(torch.utils.data.default_collate(samples), self._watched_scales)

    def _watched(self, data: FaceSets) -> Batch:
        chosen = [data[0, index] for index in range(0, len(data), max(len(data) // 6, 1))]
        batch = self._batch(torch.utils.data.default_collate(chosen[:6]), self._watched_scales)
        if self.config.scale and batch.quality.unique().numel() == 1:
            logger.warning(
                "all pictures of the sample grid have quality %g on the scale %s, since they lie beyond it: the model "
                "cannot learn a dial from such targets; leave `scale` out to fit one to your own pictures",
                *(float(batch.quality[0]), self.config.scale),
            )
        return batch

    def _score_scales(self) -> dict[str, ScoreScale]:
        """Makes the score scale of every set once; every stage reads them from their file."""
        path = self.folder / SCALE
        if not path.exists() and self.accelerator.is_main_process:
            scales = {name: self._made(folder).to_dict() for name, folder in self.data.folders.items()}
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as partial:
                content = {"sets": scales} if len(scales) > 1 else next(iter(scales.values()))
                partial.write_text(json.dumps(content), encoding="utf-8")
        self.accelerator.wait_for_everyone()
        return self._read_scales(path)

    def _read_scales(self, path: Path) -> dict[str, ScoreScale]:
        names = list(self.data.folders)
        try:
            saved = json_file(path)
            fields = Fields(saved, SCALE)
            sets = fields.only(("sets",)).inside("sets").only(names) if len(names) > 1 else None
            scales = {name: read_scale(sets.inside(name) if sets else fields) for name in names}
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged ({error}); remove it, and it is fitted again to the same pictures"
            ) from error
        for name, scale in scales.items():
            self._check_scale(path, name, scale)
        say_stale(str(path), saved.get("metric", self.config.metric))
        return scales

    def _check_scale(self, path: Path, name: str, scale: ScoreScale) -> None:
        if scale.metric != self.config.metric:
            raise ValueError(
                f"{path} is of {scale.metric}, and metric is {self.config.metric}; give `metric: {scale.metric}` "
                "to go on, or train in another folder"
            )
        if self.config.scale and scale != self._published():
            raise ValueError(
                f"{path} is not {self.config.scale}; leave `scale` out to go on with it, or train in another folder"
            )
        if scale.members != self.scorer.member_scales:
            raise ValueError(f"{path} is on other scales of members than `scales` gives; train in another folder")
        if scale.spread <= LEAST_SPREAD * abs(scale.quantiles[0]):
            raise ValueError(
                f"all targets of {name} score {scale.quantiles[0]:g} by {scale.metric}, so that they have no quality; "
                "give pictures that score differently, or another metric"
            )

    def _made(self, folder: FaceFolder) -> ScoreScale:
        """The score scale of a set: the published one, or one that is fitted to targets as training draws them."""
        if self.config.scale:
            return self._published()
        scores = torch.cat([self._scores(folder, first) for first in range(0, DRAWS, 8)])
        scale = ScoreScale.fit(self.config.metric, self.scorer.lower_better, scores, self.config.scale_knots)
        return replace(scale, members=self.scorer.member_scales, side=self.scored_side)

    def _published(self) -> ScoreScale:
        return replace(named_scale(self.config.scale), side=self.scored_side)

    @torch.no_grad()
    def _scores(self, folder: FaceFolder, first: int) -> Tensor:
        samples = [folder[divmod(draw, len(folder))] for draw in range(first, first + 8)]
        return self.scorer(torch.stack([sample["hq"] for sample in samples]).to(self.device)).cpu()


def _several(folders: Folders) -> list[Path]:
    several = [folders] if isinstance(folders, (str, Path)) else list(folders)
    if not several:
        raise ValueError("there is no folder of pictures; give one or more")
    return [Path(folder) for folder in several]
