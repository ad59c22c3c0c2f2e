"""Options that every command has, and how a command is added with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, Literal

import typer

from .terminal import speak

Detector = Literal["centerface", "retinaface"]
Format = Literal["openvino", "onnx"]
Engine = Literal["auto", "torch", Format]
Precision = Literal["fp32", "bf16", "fp16", "int8"]

QUIET = Annotated[bool, typer.Option("-q", "--quiet", help="Print tables and errors alone.")]
VERBOSE = Annotated[bool, typer.Option("-v", "--verbose", help="Print also what is done and why.")]
DEBUG = Annotated[bool, typer.Option("--debug", help="Show the whole trace of an error.")]
_COMMON = {"quiet": QUIET, "verbose": VERBOSE, "debug": DEBUG}


def add(app: typer.Typer, run: Callable[..., None], **settings: Any) -> None:
    """Adds a command with its own options and the common ones."""

    @wraps(run)
    def command(quiet: bool, verbose: bool, debug: bool, **own: Any) -> None:
        speak(quiet, verbose, debug)
        run(**own)

    own = signature(run, eval_str=True)
    common = [Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind) for name, kind in _COMMON.items()]
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *common])  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in own.parameters.items()} | _COMMON
    app.command(**settings)(command)
