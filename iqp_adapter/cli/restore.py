"""`iqp restore`: the faces of photos and films, restored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..store.words import counted
from .common import Detector, Engine, Precision
from .films import films_among, restore_films, show_films
from .parts import Parts
from .ray import RAY, wants_gpu
from .signals import stopped_by_signals
from .terminal import progress, say, say_licence

if TYPE_CHECKING:
    from ..photo.outcomes import PhotoReport
    from ..restorer import Restorer


def restore(
    photos: Annotated[
        list[str] | None, typer.Argument(help="Photos, folders with their subfolders, or globs in quotes; or films.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the results; for one photo or film, a file name will do.")
    ] = Path("restored"),
    model: Annotated[
        str, typer.Option(help="tiny, a folder, a Hub id; or a host: a weight file, a known name such as codeformer.")
    ] = "tiny",
    adapter: Annotated[str | None, typer.Option(help="Folder or Hub id of the host's trained adapter.")] = None,
    quality: Annotated[
        str, typer.Option(help="best, any, a number from 0 to 1, or match: as good as the photo around the face.")
    ] = "best",
    scale: Annotated[float, typer.Option(help="Strength of the quality's guidance; 1 is as trained.")] = 1.0,
    fidelity: Annotated[
        float | None, typer.Option(help="The model's weight between detail (0) and likeness (1).")
    ] = None,
    optimise: Annotated[
        int, typer.Option(metavar="N", help="Raise the quality by N updates of the codes; slow, needs no adapter.")
    ] = 0,
    min_identity: Annotated[
        float | None, typer.Option(help="Likeness to the input, at most 1, below which a face is restored less.")
    ] = None,
    colour: Annotated[
        Literal["photo", "model"],
        typer.Option(help="photo: keep the photo's light and white balance; model: take the restored face's."),
    ] = "photo",
    aligned: Annotated[bool, typer.Option("--aligned", help="Every picture is one aligned face.")] = False,
    skip_if: Annotated[
        float | None, typer.Option(help="Leave faces alone whose quality, from 0 to 1, is above this.")
    ] = None,
    faces: Annotated[str, typer.Option(help="all, largest, or an index counted from the left, from 0.")] = "all",
    min_face: Annotated[int, typer.Option(help="Least width and height of a face in pixels.")] = 16,
    upscale: Annotated[int, typer.Option(help="Size of the result: 1, 2 or 4 times the photo's.")] = 1,
    background: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Weight file of an upscaler, as Real-ESRGAN's, for the rest of the photo."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Faces restored at once; by default 8 of 256 px, 2 of 512 px, and so on.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Restore faces with more detail than the model gives, too; they lose it.")
    ] = False,
    detector: Annotated[Detector, typer.Option(help="retinaface is downloaded.")] = "centerface",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; by default the best there is.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="What runs the model; auto takes the fastest that was shown to be as good.")
    ] = "auto",
    precision: Annotated[
        Precision | None, typer.Option(help="By default the fastest that was shown to be as good.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the model by torch; pays for many faces.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", "--json", help="Write what was done to each face here, with scores, as JSON."),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Write before and after side by side, too.")] = False,
    names: Annotated[
        str | None,
        typer.Option("--list", help="File with names, or - for standard input; PHOTOS is then their folder."),
    ] = None,
    ray: Annotated[str | None, typer.Option(metavar="WHERE", help=RAY)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Restore an example photo.")] = False,
) -> None:
    """Restore the faces in photos; nothing is overwritten, and an interrupted run goes on where it stopped.

    A film keeps its sound; each face in it is decided about once a shot (pip install iqp_adapter\\[film]).
    Folders keep their shape. Run the same command several times, on one machine or many, to share the work.
    """
    from contextlib import closing

    from ..photo import restore_files

    if demo and dry_run:
        raise ValueError("--demo writes its photo, so that it takes no --dry-run")
    films = films_among(photos or [], output)
    if films and (dry_run or compare or demo or names or background or ray):
        raise ValueError(
            "--dry-run, --compare, --demo, --list, --background and --ray are for photos; leave them out for a film"
        )
    sources, unread = ({}, []) if films else _sources(photos or [], names, output, demo)
    if not sources and not films:
        _end(unread)
    if optimise and engine == "auto":  # which only torch can do
        engine = "torch"
    parts = Parts(
        model,
        adapter,
        device,
        engine,
        precision,
        compile,
        detector,
        background,
        drives=skip_if is not None,
        reports=report is not None,
        identifies=min_identity is not None,
    )
    made = parts() if ray is None or dry_run else parts.tried()
    network = made["model"]
    say_licence(network)
    asked: dict[str, Any] = dict(
        report=report,
        quality=_quality(quality, network),
        scale=scale,
        fidelity=fidelity,
        optimise=optimise,
        min_identity=min_identity,
        colour=colour,
        aligned=aligned,
        skip_if=skip_if,
        faces=faces if faces in ("all", "largest") else _index(faces),
        min_face=min_face,
        upscale=upscale,
        batch=batch,
        force=force,
    )
    advice = "the same command goes on from here"
    if films:
        with stopped_by_signals(advice):
            done = restore_films(films, output, **made, **asked)
        show_films(done)
        return _end([line for film in done for line in film.failures])
    asked["compare"] = compare or demo
    if ray is None or dry_run:
        runs = restore_files(sources, output, **made, dry_run=dry_run, **asked)
    else:
        from .. import cluster

        runs = cluster.restore_files(sources, output, parts, ray=ray, gpu=wants_gpu(device), **asked)
    with stopped_by_signals(advice), closing(runs), progress(transient=True) as bar:
        done = list(bar.track(runs, len(sources), description="restoring"))
    (_show_plan if dry_run else _show)(done, output)
    _end(unread + [line for report in done for line in report.failures])


def _sources(arguments: list[str], names: str | None, output: Path, demo: bool) -> tuple[dict[Path, Path], list[str]]:
    """The picture files and the places of their results, and a line for each name of none; what is left out is said."""
    from ..photo.demo import write_demo
    from ..photo.sources import find

    if demo:
        photo = write_demo(output / "degraded")
        return {photo: Path(photo.name)}, []
    found = find(arguments, names, output)
    for line in found.lines():
        say(f"left out: {line}", error=True)
    return found.photos, found.unread


def _quality(text: str, model: Restorer) -> float | str | None:
    """What is asked of the model: nothing where a quality would change nothing, which is said."""
    from ..core.quality import parse_quality

    wanted = parse_quality(text)
    if model.takes_quality:
        return wanted
    say(
        f"{model.name} has no trained adapter, so it restores as it always does, whatever --quality and --scale; "
        f"give one by --adapter",
        error=True,
    )
    return None


def _index(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--faces is {text!r}, expected all, largest, or an index from 0") from None


_NO_FACE = "if there is one, try --detector retinaface, or cut it out as a square and add --aligned"


def _show(photos: list[PhotoReport], output: Path) -> None:
    from ..photo.outcomes import Outcome

    faces = sum(photo.restored for photo in photos)
    changed = sum(photo.restored > 0 for photo in photos)
    again = sum(photo.status == "complete" for photo in photos)
    earlier = f", {again} of them by an earlier run or another one" if again else ""
    done = f"{counted(faces, 'face')} in {changed} of {counted(len(photos), 'photo')}"
    say(f"restored {done}{earlier}: {output}")
    for photo in photos:
        for face in photo.faces:
            if face.skipped and face.outcome is not Outcome.FAILED:
                say(f"left alone: {photo.source}, face {face.index}: {face.skipped}")
            if face.note:
                say(f"note: {photo.source}, face {face.index}: {face.note}")
        if photo.status == "left out":
            say(f"left out: {photo.note}", error=True)
        if photo.status == "unchanged" and not photo.faces:
            say(f"no face found: {photo.source}; {_NO_FACE}")


def _show_plan(photos: list[PhotoReport], output: Path) -> None:
    for photo in photos:
        if photo.status != "failed":
            say(f"{'complete' if photo.status == 'complete' else 'to restore'}: {photo.source} -> {photo.output}")
    complete = sum(photo.status == "complete" for photo in photos)
    say(f"dry run: {counted(len(photos), 'photo')}, {complete} of them complete already, nothing written: {output}")


def _end(failures: list[str]) -> None:
    for line in failures:
        say(f"failed: {line}", error=True, colour="red")
    if failures:
        raise typer.Exit(1)
