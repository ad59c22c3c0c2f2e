"""The settings of a training run, as a YAML file gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from ..core.metrics import members, refuse_judges, refuse_uncomputed, share_a_family
from ..scoring.scales import named_scale
from ..store.reading import yaml_file
from ..store.settings import check_least, check_types, unknown_names

PRECISIONS = ("fp32", "bf16")
ADAPTER_STAGES = ("imitation", "reward")
ADAPTER, HOST = "adapter", "host"
"""What learns in adapter training: the adapter on a frozen host, or also what leads to the codes of the host."""
OPTIMISED = ("logits", "latent")
STAGES = ([1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 3, 4])
"""The stages that native training may have."""


@dataclass(frozen=True)
class StageConfig:
    """One stage of training.

    Args:
        steps: number of updates.
        batch: pictures per batch and process.
        accumulate: batches per update, whose gradients are averaged; saves memory.
        rate: peak learning rate; it warms up over `warmup` steps and then falls along a cosine.
        warmup: steps until the peak.
        fall_to: share of the peak at the last step; 1 keeps the rate at its peak.
        decay: weight decay of AdamW; with 0 it is Adam.
        clip: largest norm of a gradient.
        ema: decay of the averaged weights, which are the ones that are saved.
        weights: factor of each loss term by name, by default 1; the class of the stage documents its terms.
        options: further settings of this stage; its class documents them.

    Raises:
        ValueError: for a setting of another type or out of its range.
    """

    steps: int
    batch: int
    rate: float
    accumulate: int = 1
    warmup: int = 100
    fall_to: float = 0.1
    decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    weights: dict[str, float] = field(default_factory=dict)
    options: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, {"steps": 1, "batch": 1, "accumulate": 1, "warmup": 0, "decay": 0})
        if self.rate < 0 or self.clip <= 0:
            raise ValueError(f"rate and clip are {self.rate:g} and {self.clip:g}; give 0 or more, and more than 0")
        if not 0 <= self.fall_to <= 1:
            raise ValueError(f"fall_to is {self.fall_to:g}; give a share of the peak rate, in [0, 1]")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema:g}; give a number from 0, below 1")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of every run.

    Args:
        metric: of the scores that condition the model, as `Scorer` takes it; a name without a version means the newest
            one when a run begins, and the run goes on with that version alone. "mean(niqe, piqe)" is an ensemble whose
            members are scaled by quantiles, "minmax-mean(niqe, piqe)" one by minimum and maximum.
        scale: name of a published score scale of the metric, such as "ffhq/topiq-face". It stands in place of the scale
            that is otherwise fitted to the scores of the training pictures, for every set: quality then means that
            among those pictures. By default there is none.
        scales: JSON file with score scales of the members of an ensemble, as `iqp score --scales` takes it; by default
            those that the library stores. The model keeps what it took of them.
        perceptual: backbone of the perceptual loss, "lite0" (needs no download) or "lpips".
        degradation: `kind` (a name in `degradations.kinds`, by default "face") and attributes of that degradation that
            replace the values of its `for_resolution`.
        ladder: attributes of `Ladder` that replace its defaults.
        augmentation: attributes of `Augmentation` that replace its defaults.
        shares: how much of the samples is of each set, by the sets' names, where training has several. Only the
            proportions count; by default they are the numbers of pictures.
        scale_knots: quantiles of the training scores that make a score scale. With 2 they are the minimum and the
            maximum: quality then rises evenly with the score, as in IQPIR, and not with the share of worse pictures.
        precision: "fp32" or "bf16" (autocast).
        seed: of every random draw.
        workers: processes that prepare samples; with 0 the training process does.
        save_every: steps between checkpoints.
        watch_every: steps between sample grids.

    Raises:
        ValueError: for a setting of another type or out of its range.
    """

    metric: str = "iqp-lite"
    scale: str = ""
    scales: str = ""
    perceptual: str = "lite0"
    degradation: dict[str, Any] = field(default_factory=dict)
    ladder: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    scale_knots: int = 101
    precision: str = "bf16"
    seed: int = 0
    workers: int = 0
    save_every: int = 100
    watch_every: int = 200

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, {"scale_knots": 2, "seed": 0, "workers": 0, "save_every": 1, "watch_every": 1})
        refuse_judges(self.metric)
        refuse_uncomputed(self.metric)
        if self.scale:
            named_scale(self.scale, self.metric)
        if self.scales and not members(self.metric):
            raise ValueError(f"scales are for an ensemble, like 'mean(niqe, piqe)', and metric is {self.metric}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; choose from {', '.join(PRECISIONS)}")
        if wrong := [name for name, share in self.shares.items() if share <= 0]:
            raise ValueError(f"shares.{wrong[0]} is {self.shares[wrong[0]]:g}; give a number above 0, or no such set")

    @property
    def of_every_stage(self) -> dict[str, Any]:
        """The settings that do not belong to a single stage."""
        return {name: value for name, value in asdict(self).items() if name not in ("stages", *ADAPTER_STAGES)}


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """The settings of native training.

    Args:
        preset: size and kind of the model, see `native.presets`.
        stages: settings of "stage1", "stage2" and, for a model of ours, "stage3" and "stage4". Later ones may be left
            out, and so may "stage3" before "stage4".
        changes: values that replace those of the preset.
        optimised: what the gradient of the quality term goes through to other codes: "logits", as in this project; or
            "latent", straight through to the encoder's features, as in the authors' code. See `QualityStage`,
            `LatentQualityStage` and `ScorePredictionStage`.
    """

    preset: str
    stages: dict[str, StageConfig]
    changes: dict[str, Any] = field(default_factory=dict)
    optimised: str = "logits"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimised not in OPTIMISED:
            raise ValueError(f"optimised is {self.optimised!r}; choose from {', '.join(OPTIMISED)}")

    @classmethod
    def load(cls, path: str | Path) -> TrainConfig:
        """Reads a YAML file.

        Raises:
            ValueError: names the file, and a setting that is unknown, missing or wrong, in one line.
            OSError: for a file that cannot be read.
        """
        data = yaml_file(path)
        stages = data.get("stages")
        if not isinstance(stages, dict) or list(stages) not in STAGES:
            raise ValueError(f"{path} does not describe stages 1, 2 and so on; see examples/native_tiny.yaml")
        named = {f"stage{n}": _make(StageConfig, settings, f"{path}: stage {n}") for n, settings in stages.items()}
        return _make(cls, {**data, "stages": named}, str(path))

    def name(self, number: int) -> str:
        """The name of stage 1, 2, 3 or 4.

        Raises:
            ValueError: if the configuration leaves it out.
        """
        name = f"stage{number}"
        if name not in self.stages:
            raise ValueError(f"there is no stage {number}; the configuration has {', '.join(self.stages)}")
        return name

    @property
    def numbers(self) -> list[int]:
        """The number of each stage, in order."""
        return [int(name.removeprefix("stage")) for name in self.stages]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(RunConfig):
    """The settings of adapter training, which has one or both of its stages.

    Args:
        imitation: settings of the stage that learns from targets.
        reward: settings of the stage that learns from the metric.
        judges: metrics for the log that training does not use.
        learns: "adapter", on a frozen host; or "host", by which all that leads to the codes of a code host learns too,
            and the adapter has one site, the features that the codes stand for.
        block: kind of the adapter's blocks, see `core.adapter.KINDS`.
        sizes: of that kind, where they replace its defaults: `token_dim`, `tokens` and `inner` of attention, `rows` and
            `full` of score maps.
    """

    imitation: StageConfig | None = None
    reward: StageConfig | None = None
    judges: Sequence[str] = ("piqe",)
    learns: str = ADAPTER
    block: str = "attention"
    sizes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise ValueError("there is no stage; give the settings of imitation, of reward, or of both")
        if self.learns not in (ADAPTER, HOST):
            raise ValueError(f"learns is {self.learns!r}; choose from {ADAPTER} (on a frozen host), {HOST}")
        if driving := [judge for judge in self.judges if share_a_family(judge, self.metric)]:
            raise ValueError(f"{driving[0]} drives the training and cannot judge it; name other judges")

    @classmethod
    def load(cls, path: str | Path) -> AdapterConfig:
        """Reads a YAML file.

        Raises:
            ValueError: names the file, and a setting that is unknown, missing or wrong, in one line.
            OSError: for a file that cannot be read.
        """
        data = yaml_file(path)
        stages = {name: data[name] for name in ADAPTER_STAGES if name in data}
        if not stages:
            raise ValueError(f"{path} does not describe imitation or reward; see examples/adapter.yaml")
        named = {name: _make(StageConfig, settings, f"{path}: {name}") for name, settings in stages.items()}
        return _make(cls, data | named, str(path))

    @property
    def stages(self) -> dict[str, StageConfig]:
        """The settings of each stage by its name, in order."""
        return {name: stage for name in ADAPTER_STAGES if (stage := getattr(self, name)) is not None}


def _make(kind: type, values: Any, place: str) -> Any:
    """Settings from the entries of a file, where whole numbers may be written as 1e3."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{place} is {values!r:.80}; give settings by their names")
    if unknown := unknown_names(values, [item.name for item in fields(kind)], kind.__name__):
        raise ValueError(f"{place}: unknown setting {unknown}")
    hints = get_type_hints(kind)
    whole = {name: int(value) for name, value in values.items() if hints[name] is int and _is_whole(value)}
    try:
        return kind(**{**values, **whole})
    except TypeError as error:
        raise ValueError(f"{place}: {kind.__name__}: {str(error).split('__init__() ')[-1]}") from None
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()
