"""Trains an adapter on a frozen host: from a folder of good face pictures to a folder that `wrap` loads."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..scorer import Scorer
from ..wrapped_host import DEFAULT, WrappedHost
from ..wrapper import wrap
from .config import AdapterConfig
from .guard import Embed, Guard
from .run import Progress, Run, silent
from .stages import CodeAdaptation, ImageAdaptation, Stage


class AdapterTraining(Run):
    """One run: hosts that decide codes learn from codes, all others from pictures.

    Args:
        config: settings of the run.
        host: what `wrap` takes.
        hq, folder, watch: as for `Run`.
        embed: tells identities, so that the log can show what becomes of them.
    """

    config: AdapterConfig

    def __init__(
        self,
        config: AdapterConfig,
        host: nn.Module | str,
        hq: Path,
        folder: Path,
        watch: Path | None = None,
        embed: Embed | None = None,
    ):
        bare: WrappedHost = wrap(host)
        if bare.resolution is None:
            raise ValueError(f"{bare.spec.name} has no size of its own to train at; give its adapter file a resolution")
        super().__init__(config, bare.resolution, hq, folder, watch)
        judges = [Scorer(metric, device=self.device) for metric in config.judges]
        self.guard = Guard(self.scorer, judges, embed)
        self.model = wrap(bare.unwrap(), scales=[self.scale], **config.sizes).to(self.device)

    def run(self, progress: Progress = silent) -> Path:
        """Trains, or goes on, and returns the folder of the adapter."""
        adapter = self.train("adapter", 1, self._stage, progress)
        self.model.adapters[DEFAULT].load_state_dict(adapter.state_dict())
        folder = self.folder / "adapter" / "model"
        if self.accelerator.is_main_process:
            self.model.save_pretrained(folder, training=self.config.stage.__dict__)
        return folder

    def _stage(self) -> Stage:
        kind = ImageAdaptation if self.model.codes is None else CodeAdaptation
        return kind(self.config.stage, self.perceptual(), self.model, self.guard)
