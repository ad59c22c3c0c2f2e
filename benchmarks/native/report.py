"""What the benchmarks write: numbers with everything they depend on, as JSON, and tables for people, as Markdown."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.judges import Panel, Scores
from iqp_adapter.bench.intervals import Interval, People, person_of
from iqp_adapter.bench.writers import table as markdown
from iqp_adapter.provenance import dataset_hash, environment
from iqp_adapter.store import hub
from iqp_adapter.store.files import atomic_path, list_images, sha256_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "native"
OutOption = Annotated[Path, typer.Option("-o", "--out", help="folder of the results")]
DATA_SETS = {"london": "Face Research Lab London Set, CC BY 4.0, doi:10.6084/m9.figshare.5047666"}
"""Names of data sets by the first word of their files."""


def provenance(seed: int, faces: Path | None = None, **models: str | Path | None) -> dict[str, Any]:
    """What a result depends on besides the code: command, versions, machine, seed, pictures and weights, by hash."""
    facts: dict[str, Any] = {"command": command(), "environment": environment(seed)}
    if faces is not None:
        facts["data"] = _data(faces)
    weights = {role: sha256_of(weights_file(model)) for role, model in models.items() if model is not None}
    return facts | ({"weights": weights} if weights else {})


def weights_file(model: str | Path) -> Path:
    return hub.resolve(model, prefix="iqpfr-") / "model.safetensors"


def command() -> str:
    """The command that is running; of a path outside the repository, the last two names are kept."""
    module = ".".join(Path(_placeless(sys.argv[0])).with_suffix("").parts)
    return shlex.join(["python", "-m", module, *map(_placeless, sys.argv[1:])])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a result whole; numbers keep six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    typer.echo(f"wrote {path}")


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(text)
    typer.echo(text)


def summary(scores: Mapping[str, Scores], people: People) -> dict[str, dict[str, Interval]]:
    """Interval of every judge for every method."""
    return {name: {judge: people.interval(values) for judge, values in of.items()} for name, of in scores.items()}


def table(title: str, rows: Mapping[str, Mapping[str, Interval]], panel: Panel) -> str:
    """One row a method, one column a judge, as Markdown."""
    lines = [["", *map(panel.label, panel.judges)]]
    lines += [[name, *(str(row[judge]) for judge in panel.judges)] for name, row in rows.items()]
    notes = ["Mean [95 % interval over people]. † trained on: shares a backbone or a target with a loss or the scorer."]
    notes += [f"Skipped: {name}, {reason}." for name, reason in panel.skipped.items()]
    return f"# {title}\n\n{markdown(lines)}\n\n{' '.join(notes)}\n"


def claim(text: str, gain: Interval) -> dict[str, Any]:
    """A claim that one thing beats another: it holds when the interval of the gain lies above zero."""
    return {"claim": text, "holds": gain.low > 0, "gain": gain}


def claims_list(claims: Sequence[Mapping[str, Any]]) -> str:
    """Claims with their verdicts, as a Markdown list."""
    verdicts = {True: "holds", False: "**does not hold**"}
    return "".join(f"- {verdicts[c['holds']]}: {c['claim']}: {c.get('gain') or c['why']}\n" for c in claims)


def _data(faces: Path) -> dict[str, Any]:
    files = list_images([faces])
    return {
        "name": DATA_SETS.get(files[0].stem.split("_")[0], faces.name),
        "part": faces.name,
        "pictures": len(files),
        "people": len({person_of(file) for file in files}),
        "sha256": dataset_hash(faces),
    }


def _placeless(argument: str) -> str:
    path = Path(argument)
    if not path.exists() and not path.is_absolute():
        return argument
    inside = path.resolve().is_relative_to(ROOT)
    return str(path.resolve().relative_to(ROOT)) if inside else "/".join(path.resolve().parts[-2:])


def _plain(value: Any) -> Any:
    """The same for JSON: intervals as objects, arrays as lists, six digits."""
    if isinstance(value, Interval):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}")
    return value.item() if isinstance(value, np.generic) else value
