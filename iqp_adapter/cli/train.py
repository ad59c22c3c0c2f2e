"""`iqp train`: the native model and adapters, with progress, curves and sample grids."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import add
from .signals import stopped_by_signals
from .terminal import is_quiet, progress, say, say_left_out, speak

ADVICE = "the same command goes on from the last checkpoint"
TRACKERS = "Tracker beside the files: tensorboard, wandb, trackio, or another of accelerate's; may be repeated."
SETS = (
    "Good, aligned face pictures: a folder, tar shards as SHARDS or 'SHARDS/*.tar', or datasets:OWNER/NAME; may be "
    "repeated: each is a set with a score scale of its own."
)

SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Further options are settings of the configuration."""

app = typer.Typer(help="Train models.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train models."""


def native(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="YAML file, such as examples/native_tiny.yaml.")],
    hq: Annotated[list[Path], typer.Option(help=SETS)],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; with the same folder it resumes.")],
    stage: Annotated[
        list[int] | None,
        typer.Option(min=1, max=4, help="1, 2, 3 or 4; may be repeated; by default every stage of the configuration."),
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Folder of pictures for the sample grids, by default some of --hq.")
    ] = None,
    log_with: Annotated[list[str] | None, typer.Option(help=TRACKERS)] = None,
) -> None:
    """Train a native model: 1 codebooks, 2 code prediction; of ours, also 3 quality optimisation, 4 the finish.

    Settings of the configuration may be given as further options, such as --seed 1 or --stages.1.steps 200.
    """
    from ..training.config import TrainConfig
    from ..training.native_training import NativeTraining
    from ..training.terms import refuse_unknown_terms

    speak(verbose=not is_quiet())
    say_left_out(hq)
    settings = TrainConfig.load(config, context.args)
    refuse_unknown_terms(settings, str(config))
    with stopped_by_signals(ADVICE):
        run = NativeTraining(settings, hq, out, watch, log_with or ())
        for number in stage or settings.numbers:
            say(f"stage {number} is in {run.run_stage(settings.name(number), training_progress)}")


def adapter(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Weight file or published name of the host; see iqp fetch --list.")],
    config: Annotated[Path, typer.Option(help="YAML file, such as examples/adapter.yaml.")],
    hq: Annotated[list[Path], typer.Option(help=SETS)],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; with the same folder it resumes.")],
    watch: Annotated[
        Path | None, typer.Option(help="Folder of pictures for the sample grids, by default some of --hq.")
    ] = None,
    vqgan: Annotated[
        Path | None,
        typer.Option(
            help="Weight file of the VQGAN that a code host was made from; for --sites codes and --learns host, which "
            "learn codes."
        ),
    ] = None,
    lq: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder with a degraded picture for every one in --hq, by default training degrades them; one for "
            "each --hq, in the same order."
        ),
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the codes that distillation finds, by default in that of the run; runs that search alike "
            "may share it."
        ),
    ] = None,
    log_with: Annotated[list[str] | None, typer.Option(help=TRACKERS)] = None,
) -> None:
    """Train an adapter, by default on a frozen host, for iqp restore --model HOST --adapter FOLDER.

    Settings of the configuration may be given as further options, such as --reward.steps 200 or --learns host.
    """
    from ..photo.identity import DlibIdentity
    from ..training.adapter_training import AdapterTraining
    from ..training.config import AdapterConfig
    from ..training.terms import refuse_unknown_terms

    speak(verbose=not is_quiet())
    say_left_out([*hq, *(lq or ())])
    settings = AdapterConfig.load(config, context.args)
    refuse_unknown_terms(settings, str(config))
    with stopped_by_signals(ADVICE):
        embed = DlibIdentity() if DlibIdentity.is_installed() else None
        run = AdapterTraining(settings, host, hq, out, watch, embed, vqgan, lq or None, log_with or (), codes)
        say(f"the adapter is in {run.run(training_progress)}")


add(app, native, context_settings=SETTINGS)
add(app, adapter, context_settings=SETTINGS)


class training_progress:  # noqa: N801 - used as a context manager
    """A progress bar that shows the newest loss terms."""

    def __init__(self, title: str, steps: int):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = progress(*columns, TextColumn("{task.fields[terms]}"), refresh_per_second=2)
        self.task = self.bar.add_task(title, total=steps, terms="")

    def __enter__(self) -> training_progress:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, step: int, terms: dict[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
        self.bar.update(self.task, completed=step, terms=shown)
