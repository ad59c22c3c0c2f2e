"""The settings of a training run, as a YAML file gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field

from ..core.metrics import members, refuse_judges, refuse_uncomputed, share_a_family
from ..scoring.scales import named_scale
from ..store.reading import yaml_file
from ..store.settings import check_types, unknown_names
from ..store.words import in_short
from .feasible import refuse_block, refuse_infeasible, refuse_size
from .overrides import override

ADAPTER_STAGES = ("imitation", "distillation", "reward")
HOST = "host"
"""What learns in adapter training beside the adapter; by default nothing does, and the host is frozen."""
STAGES = ([1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 3, 4])
"""The stages that native training may have."""

Count = Annotated[int, Field(ge=1, le=10**12)]
Few = Annotated[int, Field(ge=1, le=10**6)]
"""A number of things that are in memory at once."""


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

    steps: Count
    batch: Few
    rate: Annotated[float, Field(ge=0)]
    accumulate: Few = 1
    warmup: Annotated[int, Field(ge=0, le=10**12)] = 100
    fall_to: Annotated[float, Field(ge=0, le=1)] = 0.1
    decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weights: dict[str, Annotated[float, Field(ge=0)]] = field(default_factory=dict)
    options: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)


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
    shares: dict[str, Annotated[float, Field(gt=0)]] = field(default_factory=dict)
    scale_knots: Annotated[int, Field(ge=2, le=100_000)] = 101
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    save_every: Count = 100
    watch_every: Count = 200

    def __post_init__(self) -> None:
        check_types(self)
        refuse_judges(self.metric)
        refuse_uncomputed(self.metric)
        if self.scale:
            named_scale(self.scale, self.metric)
        if self.scales and not members(self.metric):
            raise ValueError(f"scales are for an ensemble, like 'mean(niqe, piqe)', and metric is {self.metric}")
        refuse_infeasible(self)

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
    optimised: Literal["logits", "latent"] = "logits"

    @classmethod
    def load(cls, path: str | Path, changes: Sequence[str] = ()) -> TrainConfig:
        """Reads a YAML file.

        Args:
            path: of the file.
            changes: settings that replace those of the file, see `override`.

        Raises:
            ValueError: names the file, and a setting that is unknown, missing or wrong, in one line.
            OSError: for a file that cannot be read.
        """
        data, place = _read(path, changes)
        stages = data.get("stages")
        if not isinstance(stages, dict) or list(stages) not in STAGES or {type(n) for n in stages} != {int}:
            raise ValueError(f"{place} does not describe stages 1, 2 and so on; see examples/native_tiny.yaml")
        named = {f"stage{n}": _make(StageConfig, settings, f"{place}: stage {n}") for n, settings in stages.items()}
        return _make(cls, {**data, "stages": named}, place)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_size(self)

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
    """The settings of adapter training, which has one or more of its stages.

    Args:
        imitation: settings of the stage that learns from targets.
        distillation: settings of the stage that learns codes which a search finds for a higher score.
        reward: settings of the stage that learns from the metric.
        judges: metrics for the log that training does not use.
        learns: "adapter", on a frozen host; or "host", by which all that leads to the codes of a code host learns too,
            and the adapter has one site, the features that the codes stand for.
        block: kind of the adapter's blocks, see `core.adapter.KINDS`.
        sizes: of that kind, where they replace its defaults: `token_dim`, `tokens` and `inner` of attention, `rows` and
            `full` of score maps.
        sites: "codes" for an adapter that steers the codes of a code host; by default it acts behind them.
    """

    imitation: StageConfig | None = None
    distillation: StageConfig | None = None
    reward: StageConfig | None = None
    judges: Sequence[str] = ("piqe",)
    learns: Literal["adapter", "host"] = "adapter"
    block: str = "attention"
    sizes: dict[str, Any] = field(default_factory=dict)
    sites: Literal["codes"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise ValueError(f"there is no stage; give the settings of one or more of {', '.join(ADAPTER_STAGES)}")
        refuse_block(self)
        if driving := [judge for judge in self.judges if share_a_family(judge, self.metric)]:
            raise ValueError(f"{driving[0]} drives the training and cannot judge it; name other judges")

    @classmethod
    def load(cls, path: str | Path, changes: Sequence[str] = ()) -> AdapterConfig:
        """Reads a YAML file.

        Args:
            path: of the file.
            changes: settings that replace those of the file, see `override`.

        Raises:
            ValueError: names the file, and a setting that is unknown, missing or wrong, in one line.
            OSError: for a file that cannot be read.
        """
        data, place = _read(path, changes)
        stages = {name: data[name] for name in ADAPTER_STAGES if name in data}
        if not stages:
            raise ValueError(f"{place} describes none of {', '.join(ADAPTER_STAGES)}; see examples/adapter.yaml")
        named = {name: _make(StageConfig, settings, f"{place}: {name}") for name, settings in stages.items()}
        return _make(cls, data | named, place)

    @property
    def learns_codes(self) -> bool:
        """Whether codes are asked to be learned: by an adapter before them, or by the host."""
        return self.sites is not None or self.learns == HOST

    @property
    def stages(self) -> dict[str, StageConfig]:
        """The settings of each stage by its name, in order."""
        return {name: stage for name in ADAPTER_STAGES if (stage := getattr(self, name)) is not None}


def _read(path: str | Path, changes: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The entries of a file with changes, and where they are from, for messages."""
    given = ["with", *map(in_short, changes)] if changes else []
    return override(yaml_file(path), changes), " ".join([str(path), *given])


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
