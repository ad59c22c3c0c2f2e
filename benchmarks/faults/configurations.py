"""Damaged settings of training, in files and on the command line: legal and as written, or refused in one line.

Legal is what training can begin with, as far as that needs no pictures: sizes, degradations, draws, metrics, stages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from benchmarks.common.results import ROOT
from benchmarks.faults.children import Ended, bound_memory, iqp, run
from benchmarks.faults.config_damages import DAMAGES

FURTHER_BYTES = 3 * 2**30
"""More memory than any of these settings may need before there are pictures."""

LONGEST = 2000
"""Characters of a line that people still read."""

EXAMPLES = (
    "native_tiny.yaml", "adapter.yaml", "native_colour.yaml", "adapter_retrained.yaml", "native_paper_small.yaml",
    "native_underwater.yaml",
)  # fmt: skip
NAMED = re.compile(r"settings\.yaml|--|'-?[^']*' is no option")
"""What a refusal names: the file, or the option of the command line."""


def campaign(number: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known."""
    from iqp_adapter.scoring.scorer import Scorer

    Scorer.available()  # is slow once, in the parent
    counts, damages = Counter[str](), list(DAMAGES.items())
    for position in range(number):
        rng = Random(f"{seed} {position}")
        name, damage = damages[position % len(damages)]
        example = EXAMPLES[position % len(EXAMPLES)]
        content, words = damage((ROOT / "examples" / example).read_bytes(), rng)
        place = folder / "settings.yaml"
        place.write_bytes(content)
        found = _tried(place, words, "adapter" if example.startswith("adapter") else "native", folder)
        if any(found[fault] for fault in ("traces", "hangs", "unnamed", "wrong")):
            _keep(folder / f"fault {position} of {name}", place, words, folder / "settings.log")
        counts += found
        yield counts


def _tried(place: Path, words: Sequence[str], command: str, folder: Path) -> Counter[str]:
    """Read as the library does, then by the command where that is refused."""
    ended = run(lambda: _read(place, words, command), folder / "settings.log")
    counts = Counter(files=1, traces=int(ended.traced), hangs=int(ended.status is None))
    counts["legal"] += ended.status == 0
    counts["wrong"] += "not as written" in ended.output
    if ended.status == 1:
        counts += _judged(ended)
        counts += _by_command(place, words, command, folder)
    return counts


def _judged(ended: Ended) -> Counter[str]:
    line = ended.output.split("refused: ", 1)[-1].removesuffix("\n")
    fits = NAMED.search(line) and "\n" not in line and len(line) < LONGEST and "late" not in ended.output[:5]
    return Counter(refused=int(bool(fits)), unnamed=int(not fits))


def _by_command(place: Path, words: Sequence[str], command: str, folder: Path) -> Counter[str]:
    """What the command says of the same: one line, or how it is used, and no folder is left."""
    pictures, out, log = folder / "pictures", folder / "run", folder / "command.log"
    pictures.mkdir(exist_ok=True)
    host = ["--host", "none.pth"] if command == "adapter" else []
    work = iqp("train", command, *host, "--config", place, "--hq", pictures, "-o", out, *words)
    ended = run(work, log)
    counts = Counter(traces=int(ended.traced), hangs=int(ended.status is None), **{"left over": int(out.exists())})
    one_line = ended.output.startswith("iqp: ") and ended.output.count("\n") == 1
    counts["unnamed"] += ended.status not in (2, None) or not (one_line or ended.output.startswith("Usage: "))
    if counts.total():
        (folder / "settings.log").write_text(ended.output)
    return counts


def _read(place: Path, words: Sequence[str], command: str) -> None:
    from iqp_adapter.store.words import USER_ERRORS
    from iqp_adapter.training.config import AdapterConfig, TrainConfig
    from iqp_adapter.training.terms import refuse_unknown_terms

    bound_memory(FURTHER_BYTES)
    stage = ""
    try:
        config = (AdapterConfig if command == "adapter" else TrainConfig).load(place, words)
        refuse_unknown_terms(config, str(place))
        stage = "late: "
        _begin(config)
    except USER_ERRORS as error:
        print(f"{stage}refused: {error}")
        raise SystemExit(1) from None
    if wrong := _differences(config, place, words):
        print(f"not as written: {wrong}")


# -- legal


def _begin(config: Any) -> None:
    """What training makes of its settings alone; whatever is raised here comes too late to name the file."""
    import torch

    from iqp_adapter.core.metrics import members
    from iqp_adapter.degradations.checks import attributes
    from iqp_adapter.degradations.kinds import degradation_of
    from iqp_adapter.degradations.ladder import Ladder
    from iqp_adapter.degradations.rng import torch_generator
    from iqp_adapter.scoring.perceptual import perceptual_distance
    from iqp_adapter.scoring.scorer import Scorer
    from iqp_adapter.training.augmentation import Augmentation
    from iqp_adapter.training.dataset import KeyedBatches

    known = Scorer.available()
    if unknown := [name for name in members(config.metric) or (config.metric,) if name not in known]:
        raise ValueError(f"unknown metric {unknown[0]}")
    perceptual_distance(config.perceptual) if config.perceptual != "lpips" else None
    face, rng = np.random.default_rng(0).random((64, 64, 3), np.float32), np.random.default_rng(0)
    augmentation = Augmentation(**attributes(Augmentation, "augmentation", config.augmentation))
    made = [
        augmentation.pose(rng),
        augmentation.colours(rng),
        Ladder(**attributes(Ladder, "ladder", config.ladder))(face, 1),
        degradation_of(64, **config.degradation)(face, 1),
    ]
    if not all(np.isfinite(each).all() for each in made):
        raise ValueError("pictures are no numbers")
    torch.manual_seed(config.seed + 4)
    torch_generator(config.seed)
    torch.linspace(0, 1, config.scale_knots)
    for stage in config.stages.values():
        next(iter(KeyedBatches(10, min(stage.batch, 100), seed=config.seed + 4)))
        [
            float(number)
            for number in (stage.steps, stage.warmup, stage.accumulate, config.save_every, config.watch_every)
        ]
    _begin_model(config)


def _begin_model(config: Any) -> None:
    """Sizes and stages of a native model, kinds of blocks of an adapter."""
    from types import SimpleNamespace

    from iqp_adapter.core.adapter import Adapter
    from iqp_adapter.core.sites import Site
    from iqp_adapter.native import preset
    from iqp_adapter.training import stages as kinds
    from iqp_adapter.training.native_stages import stages_of

    if hasattr(config, "preset"):
        run = SimpleNamespace(config=config, prediction=kinds.PredictionStage)
        stages = stages_of(run, preset(config.preset, **config.changes))  # type: ignore[arg-type]
        for name, settings in config.stages.items():
            stages.kind(name).check(settings)
            config.name(int(name.removeprefix("stage")))
        return
    sizes = {name: value for name, value in config.sizes.items() if name != "full"}
    Adapter([Site("x", 8, "BLC")], block=config.block, **sizes)
    of = {"imitation": (kinds.ImageImitation, kinds.CodeImitation), "reward": (kinds.ImageReward, kinds.CodeReward)}
    for name, settings in config.stages.items():
        choices = (kinds.HostImitation,) if name == "imitation" and config.learns == "host" else of[name]
        refusals = [refusal for kind in choices if (refusal := _refusal(kind, settings))]
        if len(refusals) == len(choices):
            raise refusals[0]


def _refusal(kind: Any, settings: Any) -> ValueError | None:
    try:
        kind.check(settings)
    except ValueError as error:
        return error
    return None


# -- as written


class _Words(yaml.SafeLoader):
    """Reads every value as the words that were written."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))]}


def _differences(config: Any, place: Path, words: Sequence[str]) -> list[str]:
    """Settings that are not what file and command line say, read by other means."""
    written = _flat(yaml.load(place.read_bytes().decode("utf-8-sig"), Loader=_Words))
    left = list(words)
    while left:
        name, equals, value = left.pop(0).removeprefix("--").partition("=")
        text = value if equals else left.pop(0)
        inner = yaml.load(text, Loader=_Words) if text.strip() else ""
        name = ".".join(str(int(part)) if part.isdecimal() else part for part in name.split("."))
        written = {key: kept for key, kept in written.items() if key != name and not key.startswith(f"{name}.")}
        written |= _flat({name: inner})
    read = asdict(config)
    read = _flat(
        read | {"stages": {name.removeprefix("stage"): value for name, value in read.get("stages", {}).items()}}
    )
    return [
        f"{name}: {text!r:.60} as {read.get(name)!r:.60}"
        for name, text in written.items()
        if not _same(text, read.get(name))
    ]


def _flat(data: Any, before: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {before: data}
    return {
        key: value for name, inner in data.items() for key, value in _flat(inner, f"{before}.{name}".strip(".")).items()
    }


def _same(text: Any, value: Any) -> bool:
    if isinstance(text, (list, tuple)):
        return isinstance(value, (list, tuple)) and len(text) == len(value) and all(map(_same, text, value))
    if isinstance(value, bool) or value is None:
        return (
            str(text).lower()
            in {True: ("true", "yes", "on"), False: ("false", "no", "off"), None: ("null", "~", "")}[value]
        )
    if isinstance(value, str):
        return str(text) == value
    text = str(text)
    try:
        return float(int(text, 0) if re.match("0[xob]", text) else float(text)) == float(value)
    except (ValueError, OverflowError, TypeError):
        return False


def _keep(kept: Path, place: Path, words: Sequence[str], log: Path) -> None:
    kept.mkdir(exist_ok=True)
    (kept / place.name).write_bytes(place.read_bytes())
    (kept / "words").write_text(repr(words))
    (kept / "log").write_bytes(log.read_bytes())
