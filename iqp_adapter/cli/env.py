"""`iqp env`: what is installed, for reports of faults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..version import __version__
from .terminal import STANDARD_OUTPUT, put_json, say


def env(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the same; - prints it as JSON alone.")
    ] = None,
) -> None:
    """Show the versions that results depend on, and packages that overwrite each other's files."""
    from ..installed import overlaps
    from ..provenance import environment

    found: dict[str, Any] = {"iqp_adapter": __version__} | environment(seed=0)
    del found["seed"]
    shared = overlaps()
    if json_file:
        put_json(json_file, found | {"overlaps": [vars(each) for each in shared]})
    if json_file == STANDARD_OUTPUT:
        return
    packages = found.pop("packages")
    for name, value in (found | packages).items():
        say(f"{name}: {value}")
    for each in shared:
        say(f"overwritten: {each}")
