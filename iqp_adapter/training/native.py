"""Trains the native model: from a folder of good face pictures and a configuration to the weights of each stage."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from .. import checkpoint
from ..files import atomic_path
from ..native import IQPFR, IQPFRConfig, Tokenizer, preset
from ..quality import ScoreScale
from ..scorer import Scorer
from .config import TrainConfig
from .dataset import Augmentation, FaceFolder, KeyedBatches
from .degradation import Degradation
from .ladder import Ladder
from .loop import Loop, Pace
from .losses import perceptual_distance
from .record import write_environment
from .rng import torch_generator
from .stages import Batch, CodebookStage, PredictionStage, QualityStage, Stage

logger = logging.getLogger(__name__)

Progress = Callable[[int, dict[str, float]], None]


class NativeTraining:
    """The three stages of one run, which share a folder, a data set and a score scale.

    Args:
        config: settings of the run.
        hq: folder of good face pictures, aligned.
        folder: where everything is written; the same folder again resumes.
        watch: folder of pictures that the sample grids show; `hq` without one.
    """

    def __init__(self, config: TrainConfig, hq: Path, folder: Path, watch: Path | None = None):
        self.config, self.folder = config, folder
        self.accelerator = Accelerator(mixed_precision="no" if config.precision == "fp32" else config.precision)
        self.size: IQPFRConfig = preset(config.preset, **config.changes)
        self.scorer = Scorer(config.metric, device=self.accelerator.device)
        self.data = self._dataset(hq, Augmentation())
        self.watched_data = self._dataset(watch or hq, None)
        self.scale = self._score_scale()

    def run(self, number: int, progress: Progress = lambda step, terms: None) -> Path:
        """Trains one stage, or goes on with it, and returns the folder of its weights."""
        folder = self.folder / f"stage{number}"
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed + number)
            stage = self._stage(number)
        for network in stage.players().values():
            network.to(self.accelerator.device).to(memory_format=torch.channels_last)
        pace = Pace(save=self.config.save_every, watch=self.config.watch_every)
        loop = Loop(stage, self._batches(number), self._watched(), folder, self.accelerator, pace)
        if self.accelerator.is_main_process:
            write_environment(folder, self.config, self.data)
        self._keep(loop.run(progress), folder / "model")
        return folder / "model"

    def _stage(self, number: int) -> Stage:
        config = self.config.stage(number)
        perceptual = perceptual_distance(self.config.perceptual).to(self.accelerator.device)
        if number == 1:
            return CodebookStage(config, perceptual, Tokenizer(self.size), self.config.seed)
        if number == 2:
            tokenizer = self._tokenizer()
            model = IQPFR(self.size, self.scale)
            model.adopt(tokenizer)
            return PredictionStage(config, perceptual, model, tokenizer)
        return QualityStage(config, perceptual, self._restorer(), self._restorer(), self.scorer)

    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer(self.size)
        _, state = checkpoint.load(self._finished(1))
        checkpoint.load_strict(tokenizer, state, source="stage 1")
        return tokenizer.to(self.accelerator.device).to(memory_format=torch.channels_last)

    def _restorer(self) -> IQPFR:
        model = IQPFR.from_pretrained(self._finished(2))
        return model.to(self.accelerator.device).to(memory_format=torch.channels_last)

    def _finished(self, number: int) -> Path:
        path = self.folder / f"stage{number}" / "model"
        if not path.exists():
            raise FileNotFoundError(
                f"stage {number} is not finished in {self.folder}; run it first with --stage {number}"
            )
        return path

    def _keep(self, network: nn.Module, folder: Path) -> None:
        if not self.accelerator.is_main_process:
            return
        if isinstance(network, IQPFR):
            network.save_pretrained(folder)
        else:
            checkpoint.save(folder, network.state_dict(), {"tokenizer": self.size.to_dict()})

    def _dataset(self, root: Path, augmentation: Augmentation | None) -> FaceFolder:
        return FaceFolder(
            root,
            self.size.resolution,
            degradation=Degradation.for_resolution(self.size.resolution),
            ladder=Ladder(),
            augmentation=augmentation,
            seed=self.config.seed,
        )

    def _batches(self, number: int) -> Callable[[int], Iterator[Batch]]:
        config = self.config.stage(number)

        def stream(start: int) -> Iterator[Batch]:
            order = KeyedBatches(
                len(self.data),
                config.batch,
                seed=self.config.seed + number,
                start_step=start,
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

    def _batch(self, samples: dict[str, torch.Tensor]) -> Batch:
        device = self.accelerator.device
        hq, lq = (samples[key].to(device, memory_format=torch.channels_last) for key in ("hq", "lq"))
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
        """Fitted once on targets as training draws them, then read back by every stage."""
        path = self.folder / "score_scale.json"
        if not path.exists() and self.accelerator.is_main_process:
            scores = torch.cat([self._scores(first) for first in range(0, 512, 8)])
            scale = ScoreScale.fit(self.config.metric, self.scorer.lower_better, scores)
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(scale.to_dict()))
        self.accelerator.wait_for_everyone()
        return ScoreScale.from_dict(json.loads(path.read_text()))

    @torch.no_grad()
    def _scores(self, first: int) -> torch.Tensor:
        samples = [self.data[divmod(draw, len(self.data))] for draw in range(first, first + 8)]
        return self.scorer(torch.stack([sample["hq"] for sample in samples]).to(self.accelerator.device)).cpu()
