"""`iqp env`: what is installed, for reports of faults."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ..version import __version__
from .terminal import say


def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the versions that results depend on, and packages that overwrite each other's files."""
    from ..installed import overlaps
    from ..provenance import environment

    found: dict[str, Any] = {"iqp_adapter": __version__} | environment(seed=0)
    del found["seed"]
    shared = overlaps()
    if as_json:
        return typer.echo(json.dumps(found | {"overlaps": [vars(each) for each in shared]}, indent=2))
    packages = found.pop("packages")
    for name, value in (found | packages).items():
        say(f"{name}: {value}")
    for each in shared:
        say(f"overwritten: {each}")
