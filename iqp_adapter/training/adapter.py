"""Trains an adapter on a frozen host: from a folder of good face pictures to a folder that `wrap` loads."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from torch import nn

from ..checkpoint import read_foreign
from ..host import HostSpec
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
        vqgan: weight file of the VQGAN that a code host was made from (CodeFormer: vqgan_code1024.pth); its encoder
            knows good pictures and gives the codes to learn.

    Raises:
        ValueError: for a host of no size of its own, and for a VQGAN that is not the host's.
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
        vqgan: Path | None = None,
    ):
        bare: WrappedHost = wrap(host)
        if bare.resolution is None:
            raise ValueError(f"{bare.spec.name} has no size of its own to train at; give its adapter file a resolution")
        spec, resolution, network = bare.spec, bare.resolution, bare.unwrap()
        teacher = None if vqgan is None else with_vqgan(spec, network, vqgan)
        super().__init__(config, resolution, hq, folder, watch)
        judges = [Scorer(metric, device=self.device) for metric in config.judges]
        self.guard = Guard(self.scorer, judges, embed)
        self.teacher = None if teacher is None else teacher.to(self.device)
        self.model = wrap(network, scales=[self.scale], **config.sizes).to(self.device)

    def run(self, progress: Progress = silent) -> Path:
        """Trains, or goes on, and returns the folder of the adapter."""
        adapter = self.train("adapter", 1, self._stage, progress)
        self.model.adapters[DEFAULT].load_state_dict(adapter.state_dict())
        folder = self.folder / "adapter" / "model"
        if self.accelerator.is_main_process:
            self.model.save_pretrained(folder, training=self.config.stage.__dict__)
        return folder

    def _stage(self) -> Stage:
        if self.model.codes is None:
            return ImageAdaptation(self.config.stage, self.perceptual(), self.model, self.guard)
        return CodeAdaptation(self.config.stage, self.perceptual(), self.model, self.guard, self.teacher)


def with_vqgan(spec: HostSpec, host: nn.Module, path: Path) -> nn.Module:
    """A copy of a code host with the weights of its VQGAN in their places."""
    if spec.codes is None:
        raise ValueError(f"{spec.name} decides no codes, so that it has no use for a VQGAN; leave it out")
    state, own, encoder = read_foreign(path), host.state_dict(), f"{spec.codes(host).features}."
    lost = sorted(key for key, value in state.items() if key not in own or own[key].shape != value.shape)
    if lost or not any(key.startswith(encoder) for key in state):
        what = f"{lost[0]} is not the host's" if lost else f"it has no {encoder}*"
        raise ValueError(f"{path} is no VQGAN of this {spec.name} ({what}); give the one that it was made from")
    teacher = deepcopy(host)
    teacher.load_state_dict(state, strict=False)
    return teacher.requires_grad_(False).eval()
