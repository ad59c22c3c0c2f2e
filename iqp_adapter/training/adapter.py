"""Trains an adapter on a frozen host: from a folder of good face pictures to a folder that `wrap` loads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path

from torch import nn

from ..hosts.spec import HostSpec
from ..hosts.wrap import wrap
from ..hosts.wrapped import DEFAULT, WrappedHost
from ..scoring.scorer import Scorer
from ..store.checkpoint import read_foreign
from .config import AdapterConfig
from .guard import Embed, Guard
from .run import Progress, Run, silent
from .stages import Adaptation, CodeImitation, CodeReward, ImageImitation, ImageReward

ProgressOf = Callable[[str, int], AbstractContextManager[Progress]]
"""Opens what is told of a stage, by its name and number of steps."""


def untold(stage: str, steps: int) -> AbstractContextManager[Progress]:
    """Tells nobody."""
    return nullcontext(silent)


class AdapterTraining(Run):
    """One run: imitation of targets, then reward by the metric; on hosts that decide codes by codes, else by pictures.

    Args:
        config: settings of the run.
        host: what `wrap` takes.
        hq, folder, watch, lq: as for `Run`.
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
        lq: Path | None = None,
    ):
        bare: WrappedHost = wrap(host)
        if bare.resolution is None:
            raise ValueError(f"{bare.spec.name} has no size of its own to train at; give its adapter file a resolution")
        spec, resolution, network = bare.spec, bare.resolution, bare.unwrap()
        teacher = None if vqgan is None else with_vqgan(spec, network, vqgan)
        super().__init__(config, resolution, hq, folder, watch, lq)
        judges = [Scorer(metric, device=self.device) for metric in config.judges]
        self.guard = Guard(self.scorer, judges, embed)
        self.teacher = None if teacher is None else teacher.to(self.device)
        self.model = wrap(network, scales=[self.scale], **config.sizes).to(self.device)

    def run(self, progress: ProgressOf = untold) -> Path:
        """Trains every stage, or goes on, and returns the folder of the adapter, which is that of the last stage."""
        for number, (name, config) in enumerate(self.config.stages.items(), 1):
            with progress(name, config.steps) as told:
                adapter = self.train(name, number, partial(self.stage, name), told)
            self.model.adapters[DEFAULT].load_state_dict(adapter.state_dict())
            folder = self.folder / name / "model"
            if self.accelerator.is_main_process:
                self.model.save_pretrained(folder, training=config.__dict__)
        return folder

    def stage(self, name: str) -> Adaptation:
        """The stage of a name, as it begins on the adapter as it is."""
        given = (self.config.stages[name], self.perceptual(), self.model, self.guard)
        if name == "reward":
            return CodeReward(*given) if self.model.decides_codes else ImageReward(*given)
        return CodeImitation(*given, self.teacher) if self.model.decides_codes else ImageImitation(*given)


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
