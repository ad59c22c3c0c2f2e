"""`iqp export`: a restorer as a folder that OpenVINO or ONNX Runtime runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import Format, Precision
from .terminal import say, say_licence


def export(
    model: Annotated[str, typer.Argument(help="tiny, a folder, a Hub id; or a host: a weight file, a known name.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for the program.")],
    adapter: Annotated[str | None, typer.Option(help="Folder or Hub id of the host's trained adapter.")] = None,
    format: Annotated[Format, typer.Option(help="What is to run it.")] = "openvino",
    precision: Annotated[Precision, typer.Option(help="fp32 is exact.")] = "fp32",
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder of degraded faces, by which int8 finds its ranges; some dozens.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=32, help="Side in pixels, for a model that takes any.")] = None,
) -> None:
    """Export a restorer for another engine; quality, guidance and fidelity stay inputs, the batch may have any size."""
    from ..engines.export import export as written
    from ..loader import load

    network = load(model, adapter=adapter, device="cpu")
    say_licence(network)
    config = written(network, output, format, precision, calibrate=calibrate, size=size)
    say(f"exported {network.name} for {format} at {precision}: {output}")
    for level, found in config["self_check"].items():
        say(f"  {_against_torch(level, found)}")
    if not config["any_batch"]:
        say(f"note: this {network.name} was exported for single pictures; batches are run one by one", error=True)


def _against_torch(level: str, found: dict[str, Any]) -> str:
    quality = "" if level == "None" else f"quality {level}: "
    codes = "" if found["equal codes"] is None else f", {found['equal codes']:.2%} of the codes equal"
    return f"{quality}differs from torch by {found['max difference']:.2g} at most{codes}"
