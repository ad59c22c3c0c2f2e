"""Where benchmarks write, and what every result records: command, versions, machine, seed, pictures and weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from iqp_adapter.bench import text
from iqp_adapter.bench.intervals import person_of
from iqp_adapter.native.pretrained import BUILT_IN
from iqp_adapter.provenance import command, dataset_hash, environment
from iqp_adapter.store import hub
from iqp_adapter.store.files import list_images, sha256_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
OutOption = Annotated[Path, typer.Option("-o", "--out", help="folder of the results")]
DATA_SETS = {
    "london": "Face Research Lab London Set, CC BY 4.0, doi:10.6084/m9.figshare.5047666",
    "portrait": "official portraits of members of the US Congress, from vharnathka/cse151a and voteview/member_photos",
}
"""Names of data sets by the first word of their files."""


def provenance(seed: int, faces: Path | Sequence[Path] | None = None, **models: str | Path | None) -> dict[str, Any]:
    """What a result depends on besides the code: command, versions, machine, seed, pictures and weights, by hash."""
    facts: dict[str, Any] = {"command": command(f"python -m {_module()}", sys.argv[1:])}
    facts["environment"] = environment(seed)
    if faces is not None:
        facts["data"] = _data(faces) if isinstance(faces, Path) else [_data(folder) for folder in faces]
    weights = {role: sha256_of(weights_file(model)) for role, model in models.items() if model is not None}
    return facts | ({"weights": weights} if weights else {})


def weights_file(model: str | Path) -> Path:
    return hub.resolve(model, prefix=BUILT_IN) / "model.safetensors"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a result and shows its path."""
    text.write_json(path, content)
    typer.echo(f"wrote {path}")


def write_text(path: Path, content: str) -> None:
    """Writes a text and shows it."""
    text.write_text(path, content)
    typer.echo(content)


def page(title: str, notes: str, tables: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Markdown with a table under each heading."""
    parts = [f"# {title}", notes]
    for heading, lines in tables.items():
        parts += [f"## {heading}", text.table(lines)]
    return "\n\n".join(parts) + "\n"


def _module() -> str:
    """The name of the module that is running."""
    script = Path(sys.argv[0]).resolve()
    inside = script.relative_to(ROOT) if script.is_relative_to(ROOT) else Path(script.name)
    return ".".join(inside.with_suffix("").parts)


def _data(faces: Path) -> dict[str, Any]:
    files = list_images([faces])
    return {
        "name": DATA_SETS.get(files[0].stem.split("_")[0], faces.name),
        "part": faces.name,
        "pictures": len(files),
        "people": len({person_of(file) for file in files}),
        "sha256": dataset_hash(faces),
    }
