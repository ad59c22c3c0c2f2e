"""The settings of a training run, as a YAML file gives them."""

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
        batch: pictures per batch and process.
        accumulate: batches per update, whose gradients are averaged; saves memory.
        rate: peak learning rate; it warms up over `warmup` steps and then falls along a cosine to a tenth.
        warmup: steps until the peak.
        clip: largest norm of a gradient.
        ema: decay of the averaged weights, which are the ones that are saved.
        weights: factor of each loss term by name, by default 1; the class of the stage documents its terms.
        options: further settings of this stage; its class documents them.
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
    """The settings of every run.

    Args:
        metric: of the scores that condition the model.
        perceptual: backbone of the perceptual loss, "lite0" (needs no download) or "lpips".
        degradation: `kind` (a name in `degradations.kinds`, by default "face") and attributes of that degradation that
            replace the values of its `for_resolution`.
        ladder: attributes of `Ladder` that replace its defaults.
        precision: "fp32" or "bf16" (autocast).
        seed: of every random draw.
        workers: processes that prepare samples; with 0 the training process does.
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
    """The settings of native training.

    Args:
        preset: size of the model, see `native.presets`.
        stages: settings of "stage1", "stage2" and "stage3"; later ones may be left out.
        changes: values that replace those of the preset.
    """

    preset: str
    stages: dict[str, StageConfig]
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> TrainConfig:
        """Reads a YAML file.

        Raises:
            ValueError: names an unknown or missing setting in one line.
        """
        import yaml

        data = yaml.safe_load(Path(path).read_text())
        try:
            last = max(data["stages"], default=1)
            stages = {f"stage{n}": _make(StageConfig, data["stages"][n]) for n in range(1, last + 1)}
        except (KeyError, TypeError):
            raise ValueError(f"{path} does not describe stages 1, 2 and 3; see examples/native_tiny.yaml") from None
        return _make(cls, {**data, "stages": stages})

    def name(self, number: int) -> str:
        """The name of stage 1, 2 or 3.

        Raises:
            ValueError: if the configuration leaves it out.
        """
        if number > len(self.stages):
            raise ValueError(f"there is no stage {number}; the configuration ends with stage {len(self.stages)}")
        return f"stage{number}"


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(RunConfig):
    """The settings of adapter training, which has one or both of its stages.

    Args:
        imitation: settings of the stage that learns from targets.
        reward: settings of the stage that learns from the metric.
        judges: metrics for the log that training does not use.
        block: kind of the adapter's blocks, see `core.adapter.KINDS`.
        sizes: of that kind, where they replace its defaults: `token_dim`, `tokens` and `inner` of attention, `rows` and
            `full` of score maps.
    """

    imitation: StageConfig | None = None
    reward: StageConfig | None = None
    judges: Sequence[str] = ("piqe",)
    block: str = "attention"
    sizes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("there is no stage; give the settings of imitation, of reward, or of both")
        if self.metric in self.judges:
            raise ValueError(f"{self.metric} drives the training and cannot judge it; name other judges")

    @classmethod
    def load(cls, path: str | Path) -> AdapterConfig:
        """Reads a YAML file.

        Raises:
            ValueError: names an unknown or missing setting in one line.
        """
        import yaml

        data = yaml.safe_load(Path(path).read_text())
        stages = {name: data[name] for name in ("imitation", "reward") if isinstance(data, dict) and name in data}
        if not stages or not all(isinstance(settings, dict) for settings in stages.values()):
            raise ValueError(f"{path} does not describe imitation or reward; see examples/adapter.yaml")
        return _make(cls, data | {name: _make(StageConfig, settings) for name, settings in stages.items()})

    @property
    def stages(self) -> dict[str, StageConfig]:
        """The settings of each stage by its name, in order."""
        return {name: stage for name in ("imitation", "reward") if (stage := getattr(self, name)) is not None}


def _make(kind: type, values: dict[str, Any]) -> Any:
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown setting {', '.join(unknown)}; {kind.__name__} knows {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {str(error).split('__init__() ')[-1]}") from None
