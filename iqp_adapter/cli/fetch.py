"""`iqp fetch`: published weight files of known hosts, for `iqp_adapter.wrap` with and without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import STANDARD_OUTPUT, cell, console, progress, put_json, say

if TYPE_CHECKING:
    from ..store.fetch import WeightFile


def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of weight files (see --list); on the Hub, owner/name or owner/name/path/file."),
    ] = None,
    everything: Annotated[
        Path | None, typer.Option("--all", metavar="DIR", help="Fetch every weight file into this folder.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for the named files, instead of the cache."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Show all weight files, and which of them are on this machine.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the table; - prints it, and no table.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is here, such as a damaged file.")] = False,
) -> None:
    """Fetch weight files of known hosts, and checkpoints. Without a network, IQP_WEIGHTS=DIR names their folder."""
    from ..hosts.registry import published
    from ..store.fetch import find

    known = published()
    folder = everything or output
    if listing:
        return _show([(name, known[name], find(known[name], folder)) for name in known], "known", json_file)
    if everything and output:
        raise ValueError("--all DIR says where to already; leave --output out")
    done, failures = [], []
    for name in _wanted(names or [], list(known), everything):
        if note := _unbuildable(name):
            typer.secho(f"note: {note}", err=True)
        try:
            if name in known:
                done.append((name, known[name], _fetched(name, known[name], folder, force)))
            else:
                typer.echo(f"{name}: {_from_hub(name, folder, force)}")
        except (OSError, ValueError) as error:
            failures.append(f"{name}: {error}")
    _show(done, "verified", json_file)
    for line in failures:
        say(f"not fetched: {line}", error=True, colour="red")
    if failures:
        raise typer.Exit(1)


def _unbuildable(name: str) -> str:
    """What is needed to use a file whose class is not here; empty for all others."""
    from ..hosts.loading import refuse_unbuildable
    from ..hosts.registry import hosts

    try:
        for spec in hosts().values():
            if name in spec.weights:
                refuse_unbuildable(spec, name)
    except (ImportError, ValueError) as error:
        return str(error)
    return ""


def _wanted(names: list[str], known: list[str], everything: Path | None) -> list[str]:
    if bool(names) == (everything is not None):
        raise ValueError("name what to fetch, or take --all DIR; --list shows what there is")
    unknown = [name for name in names if name not in known and "/" not in name]
    if unknown:
        raise ValueError(f"no weight file {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return names or known


def _fetched(name: str, file: WeightFile, folder: Path | None, force: bool) -> Path:
    from ..store.fetch import fetch

    with _Bar(name) as bar:
        return fetch(file, folder, bar, force_download=force)


def _from_hub(name: str, folder: Path | None, force: bool) -> Path:
    """A checkpoint, or one file; either goes into the cache of the Hub's client."""
    from ..store import hub

    if folder:
        raise ValueError("what is on the Hub goes into its cache; leave --output out")
    if hub.is_id(name):
        return hub.fetch_checkpoint(name, force_download=force)
    if name.removeprefix(hub.DATASETS).count("/") < 2:
        raise ValueError("give owner/name for a checkpoint, or owner/name/path/file")
    return hub.fetch_file(name, force_download=force)


class _Bar:
    """A progress bar that appears with the first bytes, so that it does not mix with the one of the Hub's client."""

    def __init__(self, title: str):
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

        self.bar = progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), transient=True
        )
        self.task = self.bar.add_task(title, total=None)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, done: int, total: int | None) -> None:
        self.bar.start()
        self.bar.update(self.task, completed=done, total=total)


def _show(rows: Sequence[tuple[str, WeightFile, Path | None]], status: str, json_file: Path | None) -> None:
    """
    Args:
        rows: name, file, and its path on this machine.
        status: what the table calls a file whose sha256 is published.
        json_file: for the same as JSON.
    """
    from rich.table import Column, Table

    if json_file:
        put_json(json_file, [_entries(*row) for row in rows])
    if not rows or json_file == STANDARD_OUTPUT:
        return
    licence, place = Column("licence", overflow="fold"), Column("file", overflow="fold")
    table = Table(Column("name", no_wrap=True), licence, "size", "sha256", "class", place)
    for name, file, path in rows:
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path else ""
        where = cell(path or f"{file.filename}, not here")
        known = status if file.sha256 else f"not {status}"
        table.add_row(name, file.licence, size, known, "give an instance" if _unbuildable(name) else "here", where)
    console().print(table)


def _entries(name: str, file: WeightFile, path: Path | None) -> dict[str, Any]:
    lacks = _unbuildable(name)
    return {
        "name": name,
        "licence": file.licence,
        "sha256": file.sha256,
        "needs": lacks or None,
        "path": str(path) if path else None,
    }
