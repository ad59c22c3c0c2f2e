"""What a training run is made of, as data that a YAML file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StageConfig:
    """One stage of training.

    Args:
        steps: number of updates.
        batch: pictures at once, per process.
        accumulate: batches per update, whose gradients are averaged: as many pictures as there would be memory for.
        rate: peak learning rate; warmed up over `warmup` steps, then a cosine down to a tenth.
        warmup: steps until the peak.
        clip: largest norm of a gradient.
        ema: decay of the averaged weights, which are what is kept.
        weights: factor of every loss term by name; the stage says which terms it has.
        options: what only this stage knows, see its class.
    """

    steps: int
    batch: int
    rate: float
    accumulate: int = 1
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.999
    weights: dict[str, float] = field(default_factory=dict)
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every run has.

    Args:
        metric: of the scores that condition the model.
        perceptual: backbone of the perceptual loss, "lite0" (needs no download) or "lpips".
        degradation: `kind` ("face", the default, or "underwater") and those attributes of that degradation that are
            others than its `for_resolution` has.
        ladder: attributes of `Ladder` that are others than it has.
        precision: "fp32" or "bf16" (autocast).
        seed: of every draw.
        workers: processes that prepare samples; 0 prepares them in line.
        save_every: steps between checkpoints.
        watch_every: steps between sample grids.
    """

    metric: str = "iqp-lite"
    perceptual: str = "lite0"
    degradation: dict[str, Any] = field(default_factory=dict)
    ladder: dict[str, Any] = field(default_factory=dict)
    precision: str = "bf16"
    seed: int = 0
    workers: int = 0
    save_every: int = 100
    watch_every: int = 200


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """A run of native training.

    Args:
        preset: size of the model, see `native.presets`.
        stages: settings of stage 1, 2 and 3; later ones may be left out.
        changes: single values of the preset to change.
    """

    preset: str
    stages: tuple[StageConfig, ...]
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> TrainConfig:
        """Reads a YAML file; an unknown or missing name is named in one line."""
        import yaml

        data = yaml.safe_load(Path(path).read_text())
        try:
            last = max(data["stages"], default=1)
            stages = [_make(StageConfig, data["stages"][number]) for number in range(1, last + 1)]
        except (KeyError, TypeError):
            raise ValueError(f"{path} does not describe stages 1, 2 and 3; see examples/native_tiny.yaml") from None
        return _make(cls, {**data, "stages": tuple(stages)})

    def stage(self, number: int) -> StageConfig:
        """Raises ValueError where it is left out."""
        if number > len(self.stages):
            raise ValueError(f"there is no stage {number}; the configuration ends with stage {len(self.stages)}")
        return self.stages[number - 1]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(RunConfig):
    """A run of adapter training, of one stage or of both.

    Args:
        imitation: settings of the stage that learns from targets.
        reward: settings of the stage that learns from the metric.
        judges: metrics beside which the log shows `metric`, and from which nothing learns.
        sizes: `token_dim`, `tokens` and `inner` of the adapter, where they are others than `Adapter` has.
    """

    imitation: StageConfig | None = None
    reward: StageConfig | None = None
    judges: Sequence[str] = ("piqe",)
    sizes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("there is no stage; give the settings of imitation, of reward, or of both")
        if self.metric in self.judges:
            raise ValueError(f"{self.metric} drives the training and can not judge it; name other judges")

    @classmethod
    def load(cls, path: str | Path) -> AdapterConfig:
        """Reads a YAML file; an unknown or missing name is named in one line."""
        import yaml

        data = yaml.safe_load(Path(path).read_text())
        stages = {name: data[name] for name in ("imitation", "reward") if isinstance(data, dict) and name in data}
        if not stages or not all(isinstance(settings, dict) for settings in stages.values()):
            raise ValueError(f"{path} does not describe imitation or reward; see examples/adapter.yaml")
        return _make(cls, data | {name: _make(StageConfig, settings) for name, settings in stages.items()})

    @property
    def stages(self) -> dict[str, StageConfig]:
        """Those that are run, in their order."""
        return {name: stage for name in ("imitation", "reward") if (stage := getattr(self, name)) is not None}


def _make(kind: type, values: dict[str, Any]) -> Any:
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown setting {', '.join(unknown)}; {kind.__name__} knows {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {str(error).split('__init__() ')[-1]}") from None
