"""Trains an adapter, on a frozen host or together with it: from folders of good face pictures to what `wrap` loads."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.sites import Site
from ..hosts.dial import DEFAULT
from ..hosts.loading import load_host
from ..hosts.registry import recognise
from ..hosts.spec import HostSpec, fingerprint
from ..hosts.unknown import Sizes, described, first_output
from ..hosts.wrap import wrap
from ..hosts.wrapped import WrappedHost
from ..scoring.scorer import Scorer
from ..store import checkpoint
from ..store.files import sha256_of
from .adapter_stages import kind_of_stage
from .base_run import Folders
from .config import HOST, AdapterConfig, StageConfig
from .face_sets import FaceSets
from .found_codes import CodeSearch, CodeStore, FoundCodes, FoundSets, find
from .guard import Embed, Guard
from .staged_run import ProgressOf, StagedRun
from .stages import (
    Adaptation,
    CodeDistillation,
    CodeImitation,
)
from .trackers import Tracker

DISTILLATION = "distillation"
CODES = "codes"
"""Folder in that of the run for the codes that are found, in one folder for each search."""


class AdapterTraining(StagedRun):
    """The run of "imitation" (of targets), "distillation" (of codes that are found) and "reward" (by the metric).

    Any of them may be left out.

    Args:
        config: settings of the run.
        host: what `wrap` takes.
        hq, folder, watch, lq, log_with: as for `Run`.
        embed: gives identity vectors; with it the log shows how well identities are preserved.
        vqgan: where codes are to be learned, weight file of the VQGAN that the host was made from (CodeFormer:
            vqgan_code1024.pth). Its encoder was trained on good pictures and gives these codes.
        codes: folder for the codes that distillation finds, by default in the run's. Runs may share it: each takes what
            was found for the same inputs, host and settings of the search.
        example: for a host that no host file describes: a picture (1, 3, R, R) of the size to train at. A dry run on it
            finds the sites, as for `wrap(host, sites="auto", example=...)`.

    Raises:
        ValueError: for a host of unknown kind or without a resolution of its own, for a stage from whose loss no
            gradient reaches the adapter, for a VQGAN of another host or where no codes are learned, and for a host
            without codes that is to learn, or whose codes are to be steered.
    """

    config: AdapterConfig
    memory_format = torch.contiguous_format  # some hosts view what they are given
    _found: FoundCodes

    def __init__(
        self,
        config: AdapterConfig,
        host: nn.Module | str,
        hq: Folders,
        folder: Path,
        watch: Folders | None = None,
        embed: Embed | None = None,
        vqgan: Path | None = None,
        lq: Folders | None = None,
        log_with: Sequence[Tracker] = (),
        codes: Path | None = None,
        example: Tensor | None = None,
    ):
        module = host if isinstance(host, nn.Module) else load_host(host)
        bare = getattr(module, "_orig_mod", module)
        spec = recognise(bare) if example is None else described(bare, first_output, Sizes(example.shape[-1]))
        resolution = spec.resolution(bare)
        if resolution is None:
            raise ValueError(f"{spec.name} has no size of its own to train at; give its host file a resolution")
        if config.sites is not None and example is not None:
            raise ValueError("only a host that a host file describes has sites before its codes; leave sites out")
        self._example = example
        self._sites = [site_of_features(spec, bare)] if config.learns == HOST else None
        teacher = None if vqgan is None else with_vqgan(spec, bare, vqgan)
        self._made_of = {"host": fingerprint(bare.state_dict())["values"], "vqgan": vqgan and sha256_of(vqgan)}
        super().__init__(config, resolution, hq, folder, watch, lq, log_with)
        judges = [Scorer(metric, device=self.device) for metric in config.judges]
        self.guard = Guard(self.scorer, judges, embed)
        self.teacher = None if teacher is None else teacher.to(self.device)
        self.model = self._wrapped(module, spec.name).to(self.device).eval()
        self.model.adapters[DEFAULT].set_scales = self.set_scales
        if config.learns == HOST:
            self.model.retrain()
        self.model.train()
        if teacher is not None and not self._steers_codes:
            raise ValueError("an adapter behind the codes learns none from a VQGAN; leave it out, or give sites: codes")
        for name in config.stages:
            self.kind(name).check_reach(self.model, name)
        self._codes = codes or folder / CODES
        self._searching = None if config.distillation is None else self._search_for(config.distillation)

    def _wrapped(self, module: nn.Module, kind: str) -> WrappedHost:
        """With a fresh adapter: at sites of the host's kind, at those found, or at that of one that learns."""
        place: dict[str, Any] = {"sites": self.config.sites}
        if self._sites is not None:
            place = {"kind": kind, "sites": self._sites}
        if self._example is not None:
            place = {"sites": "auto", "example": self._example}
        return wrap(module, scales=[self.scale], block=self.config.block, **place, **self.config.sizes)

    @property
    def ingredients(self) -> dict[str, Any]:
        return self._made_of

    def kind(self, name: str) -> type[Adaptation]:
        return kind_of_stage(name, self.config.learns, self._steers_codes)

    @property
    def _steers_codes(self) -> bool:
        """Whether the adapter acts before the codes: where that was asked for, or its host has no sites behind them."""
        return self.config.learns_codes or (self.model.decides_codes and self.model.spec.code_sites is None)

    def _search_for(self, config: StageConfig) -> CodeSearch:
        return CodeSearch(self.model, self.scorer, CodeDistillation.search_of(config)[0])

    def prepare(self, name: str, progress: ProgressOf) -> None:
        """Finds the codes that distillation is to learn, each process its part of them."""
        config = self.config.distillation
        if name != DISTILLATION or config is None or self._searching is None:
            return
        self.before(name)
        count = CodeDistillation.search_of(config)[1] * len(self.data)
        store = CodeStore(self._codes, self._searching.identity | self._inputs, count)
        part = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        with progress("codes", count) as update:
            find(store, self.data, self._searching, config.batch, part, update)
        self.accelerator.wait_for_everyone()
        self._found = store.load()

    @property
    def _inputs(self) -> dict[str, Any]:
        """What the degraded inputs of the run depend on."""
        names = ("seed", "degradation", "augmentation", "shares")
        return {"data": self.identity, "side": self.resolution, **{name: getattr(self.config, name) for name in names}}

    def _data_of(self, name: str) -> tuple[FaceSets, FaceSets]:
        data, shown = super()._data_of(name)
        return (FoundSets(data, self._found, self.config.seed) if name == DISTILLATION else data), shown

    def stage(self, name: str) -> Adaptation:
        if start := self.before(name):
            _, state = checkpoint.load(start)
            checkpoint.load_strict(self.model.adapters[DEFAULT], state, source=str(start))
        kind, given = self.kind(name), (self.config.stages[name], self.perceptual(), self.model, self.guard)
        return kind(*given, self.teacher) if issubclass(kind, CodeImitation) else kind(*given)

    def save(self, name: str, model: nn.Module, folder: Path) -> None:
        self.model.adapters[DEFAULT].load_state_dict(model.state_dict())
        self.model.save_pretrained(folder, training=self.config.stages[name].__dict__)


def site_of_features(spec: HostSpec, host: nn.Module) -> Site:
    """Where the adapter of a host that learns adds to it: the features that its codes stand for.

    Raises:
        ValueError: for a host without a single codebook.
    """
    codes = spec.codes(host) if spec.codes else None
    if codes is None:
        raise ValueError(f"{spec.name} has no single codebook, so that it cannot learn as a host; leave `learns` out")
    return Site(codes.features, codes.codebook(host).shape[1], "BCHW")


def with_vqgan(spec: HostSpec, host: nn.Module, path: Path) -> nn.Module:
    """A copy of a code host with the weights of its VQGAN.

    Raises:
        ValueError: for a host without codes, and for a VQGAN of another host.
    """
    codes = spec.codes(host) if spec.codes else None
    if codes is None:
        raise ValueError(f"{spec.name} decides no codes, so that it has no use for a VQGAN; leave it out")
    state, own, encoder = checkpoint.read_foreign(path), host.state_dict(), f"{codes.features}."
    wrong = sorted(key for key, value in state.items() if key not in own or own[key].shape != value.shape)
    if wrong or not any(key.startswith(encoder) for key in state):
        reason = f"{wrong[0]} is not the host's" if wrong else f"it has no {encoder}*"
        raise ValueError(f"{path} is no VQGAN of this {spec.name} ({reason}); give the one that it was made from")
    teacher = deepcopy(host)
    teacher.load_state_dict(state, strict=False)
    return teacher.requires_grad_(False).eval()
