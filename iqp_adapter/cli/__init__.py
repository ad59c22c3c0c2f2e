"""The command `iqp`. What a command needs is imported when it runs, so that `iqp --help` answers at once."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..store.words import is_for_users, line_of
from ..version import __version__
from . import bench, demo, env, export, fetch, restore, score, train
from .common import DEBUG, add
from .signals import ended_like_ctrl_c
from .terminal import is_debugging, print_anything, say, shown, speak


class _OneLineErrors(TyperGroup):
    """Shows an error of the library as one red line, exit status 2; with --debug the trace as well."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        print_anything()
        with ended_like_ctrl_c():
            return super().main(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except Exception as error:
            if is_for_users(error) and not is_debugging():
                say(f"iqp: {_line(error)}", error=True, colour="red")
                raise typer.Exit(2) from None
            if isinstance(words := getattr(error, "message", None), str):  # a usage error, with the words of the user
                error.message = shown(words)  # type: ignore[attr-defined]
            raise


def _line(error: BaseException) -> str:
    """What went wrong, in one line; for a package that is not there, how to get the full set."""
    line = line_of(error)
    missing = error.name if isinstance(error, ModuleNotFoundError) else None  # as Python says it, not the library
    if missing is None or missing.startswith("iqp_adapter"):
        return line
    return f"{line}; this command needs the full set: pip install iqp_adapter"


app = typer.Typer(
    name="iqp",
    cls=_OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iqp {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: DEBUG = False,
) -> None:
    """Restore faces, with a dial for their quality."""
    speak(debug=debug)


add(app, bench.bench)
add(app, demo.demo)
add(app, env.env)
add(app, export.export)
add(app, fetch.fetch)
add(app, restore.restore)
add(app, score.score)
app.add_typer(train.app, name="train")
