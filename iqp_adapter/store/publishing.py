"""What is told of a model beside its weights, and its way to the Hugging Face Hub with a model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from . import checkpoint, hub
from .files import atomic_path
from .keywords import of_kind

UNKNOWN = "not stated"

_EARLIER = {"license": "licence"}
"""Names of facts in checkpoints of before, and their names now."""


class Facts(TypedDict, total=False):
    """What is told of a model's making: keyword arguments of `save_pretrained`, kept in the config, for its card.

    Attributes:
        licence: of the weights, by its id on the Hub ("cc-by-4.0", "mit").
        base_model: Hub id of the model that it was made from.
        datasets: Hub ids of the data that it was trained on.
        data: that data, in words.
        training: how it was trained, as JSON can hold it.
        metrics: what was measured, in words; or numbers by test set and metric, {"LFW": {"LPIPS": 0.21}}, which become
            results on the Hub.
        limits: what it does not do well.
    """

    licence: str
    base_model: str | Sequence[str]
    datasets: str | Sequence[str]
    data: Any
    training: Any
    metrics: Any
    limits: Any


class Upload(TypedDict, total=False):
    """How a model is uploaded, by the names of the Hub's client.

    Attributes:
        private: whether a new repository is private; by default its owner's setting decides.
        token: that may write; by default the one of 'hf auth login'.
        revision: branch, made where it is missing; by default the main one.
        commit_message: title of the commit.
    """

    private: bool | None
    token: str | None
    revision: str | None
    commit_message: str


class Publishing(Facts, Upload, total=False):
    """Keyword arguments of `push_to_hub`."""


def facts_of(config: Mapping[str, Any], ours: Iterable[str]) -> dict[str, Any]:
    """The facts of a checkpoint's config, whose other entries are `ours`."""
    return {_EARLIER.get(name, name): value for name, value in config.items() if name not in ours}


def publish(
    repo_id: str,
    save: Callable[..., None],
    card: Callable[[dict[str, Any], str], str],
    options: Mapping[str, Any],
) -> str:
    """Uploads a model to the Hugging Face Hub, with a model card.

    Args:
        repo_id: "owner/name"; made where it is missing.
        save: writes the model into a folder, with `Facts`.
        card: makes the card of the config and the id.
        options: as `Publishing` has them.

    Returns:
        The commit's address.

    Raises:
        OSError: where the Hub cannot be reached, or refuses.
    """
    with TemporaryDirectory() as folder:
        save(folder, **of_kind(Facts, options))
        config, _ = checkpoint.load(folder)
        with atomic_path(Path(folder) / "README.md") as path:
            path.write_text(card(config, repo_id), encoding="utf-8")
        return hub.push(folder, repo_id, **of_kind(Upload, options))


def front_matter(facts: Mapping[str, Any], name: str, tags: Sequence[str]) -> str:
    """The YAML by which the Hub sorts and shows a model, checked by the Hub's client.

    Args:
        name: of the model on the Hub ("owner/name").

    Raises:
        ValueError: for facts that the Hub would not understand.
    """
    from huggingface_hub import ModelCardData

    results = _results(facts.get("metrics"))
    data = ModelCardData(
        **_licence(facts.get("licence")),
        library_name="iqp_adapter",
        pipeline_tag="image-to-image",
        tags=["face-restoration", *tags],
        base_model=facts.get("base_model"),
        datasets=facts.get("datasets"),
        metrics=sorted({result.metric_type for result in results}) or None,
        eval_results=results or None,
        model_name=name.split("/")[-1] if results else None,
    )
    return data.to_yaml()


def _licence(licence: str | None) -> dict[str, Any]:
    """By the Hub's ids, which are in small letters and have no spaces."""
    if licence is None:
        return {"license": "other", "license_name": "not-stated"}
    return {"license": licence.lower().replace(" ", "-")}


def _results(metrics: Any) -> list[Any]:
    """Numbers by test set and metric -> the Hub's results; what is told in other ways has none."""
    from huggingface_hub import EvalResult

    if not _are_numbers(metrics):
        return []
    return [
        EvalResult("image-to-image", name.lower().replace(" ", "-"), name, metric.lower(), value, metric_name=metric)
        for name, values in metrics.items()
        for metric, value in values.items()
    ]


def _are_numbers(metrics: Any) -> bool:
    return (
        isinstance(metrics, Mapping) and bool(metrics) and all(isinstance(each, Mapping) for each in metrics.values())
    )


def in_words(value: Any) -> str:
    """A fact as a card shows it."""
    return value if isinstance(value, str) else f"```json\n{json.dumps(value, indent=2)}\n```"


def measured(metrics: Any) -> str:
    """What was measured as a card shows it: numbers by test set and metric as a table."""
    if not _are_numbers(metrics):
        return in_words(metrics)
    rows = [(name, metric, value) for name, values in metrics.items() for metric, value in values.items()]
    return table(("test set", "metric", "value"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def sections(facts: Mapping[str, Any]) -> str:
    """The last sections of a card: data, metrics, limits, and whatever else is told."""
    known = ("licence", "base_model", "datasets", "data", "metrics", "limits")
    further = {name: value for name, value in facts.items() if name not in known}
    data, limits = (in_words(facts.get(name, UNKNOWN)) for name in ("data", "limits"))
    return f"""## Data

{data}

## Metrics

{measured(facts.get("metrics", UNKNOWN))}

## Limits

{limits}

The dial asks for a better score of a metric, which is no proof of likeness: details of a restored face are invented,
and it is no evidence of who is shown.
""" + (f"\n## Further facts\n\n{in_words(further)}\n" if further else "")
