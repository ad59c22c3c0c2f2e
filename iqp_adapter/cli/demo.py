"""`iqp demo`: a page in the browser, to try the dial on a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    model: Annotated[
        str, typer.Option(help="tiny, a folder, a Hub id; or a host: a weight file, a known name such as codeformer.")
    ] = "tiny",
    adapter: Annotated[str | None, typer.Option(help="Folder or Hub id of the host's trained adapter.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Offer the models and adapters in this folder and its subfolders, too.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="By default the first one from 7860 on that is free.")] = None,
    share: Annotated[bool, typer.Option("--share", help="Make a public address, by gradio's servers.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; by default the best there is.")] = None,
) -> None:
    """Open a page in which a photo is restored, with the dial beside it (pip install iqp_adapter\\[demo])."""
    from ..demo import page, serve

    serve(page(model, adapter, folder=folder, device=device), port, share)
