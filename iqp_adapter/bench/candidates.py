"""What a benchmark compares: the input itself, models, hosts with and without adapters, commands, and folders.

`candidates` reads these words of the command line:

    tiny | FOLDER | owner/name            a model of this library
    FILE.pth | NAME | owner/name/file     a host, as `iqp_adapter.wrap` takes it
    cmd: python x.py {input} {output}     a command that restores a folder into another one
    dir: FOLDER                           outputs that exist already
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..core.quality import WORDS, parse_quality
from ..hosts.loading import SUFFIXES
from ..loader import load
from ..pictures import as_pixels, read_pixels, read_tensor
from ..provenance import placeless
from ..restorer import Restorer
from ..store.files import list_images
from ..version import __version__
from .attempts import Failure, Work, one_by_one
from .cache import check_unchanged, content_of, digest
from .names import again, last_name, names_apart
from .programs import INPUT as INPUTS
from .programs import OUTPUT as OUTPUTS
from .programs import key_of, run_program, words_of
from .test_sets import Sample, by_stem, check_equal, has_pictures, sets_of

INPUT = "input"
ADAPTED = " + adapter"
"""Ends the name of a host with an adapter; without it, it is the bare host's."""

COMMAND, FOLDER = "cmd:", "dir:"

SECONDS = 60.0
"""That a command may take for a picture, on average."""


def _fits_any(samples: Sequence[Sample]) -> None:
    """A model restores any pictures."""


@dataclass(frozen=True)
class Candidate:
    """One row of the benchmark: something that restores, at one quality.

    Attributes:
        name: of the row.
        model: what several qualities share.
        quality: that it is asked for; None where it has no dial.
        key: hash of weights and settings; equal keys make equal pictures of equal inputs.
        work: the restoring.
        check: raises ValueError unless there is one output for each test picture; called before any work.
        conditioned_on: metrics that it is conditioned on, and so raises.
        facts: for the reader.
    """

    name: str
    model: str
    quality: str | None
    key: str
    work: Work
    check: Callable[[Sequence[Sample]], None] = _fits_any
    conditioned_on: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def candidates(
    models: Sequence[str],
    adapters: Sequence[str] = (),
    qualities: Sequence[str] = ("best", "any"),
    device: torch.device | str = "cpu",
    scale: float = 1.0,
    fidelity: float | None = None,
    seconds: float = SECONDS,
    engine: str | None = None,
    precision: str | None = None,
) -> list[Candidate]:
    """The bare input, and every model at every quality that it knows.

    Args:
        models: see the head of this file.
        adapters: folders or Hub ids; the first one is for the first host, and so on. A host with an adapter is compared
            without it as well.
        qualities: "best", "any" or numbers from 0 to 1.
        scale, fidelity: for every model that takes them.
        seconds: for every command, see `command`.
        engine, precision: what runs the models, as for `load`.

    Raises:
        ValueError: for an adapter without a host, a name that two rows would have, and what models refuse.
        OSError: where a model cannot be fetched.
    """
    waiting, found = list(adapters), [the_input()]
    running = partial(load, engine=engine, precision=precision)
    for model, title in zip(models, names_apart([_named_by(model) for model in models]), strict=True):
        if model.startswith(COMMAND):
            found.append(command(model.removeprefix(COMMAND).strip(), title, seconds))
        elif model.startswith(FOLDER):
            found.append(outputs(Path(model.removeprefix(FOLDER).strip()), title))
        else:
            dial = {"scale": scale, "fidelity": fidelity}
            found += _restorers(model, title, waiting, qualities, device, running, dial)
    if waiting:
        raise ValueError(f"no host for the adapter {waiting[0]}; name its host by --model")
    return _unlike(found)


def the_input() -> Candidate:
    """The inputs as they are."""
    return Candidate(INPUT, INPUT, None, INPUT, partial(one_by_one, lambda sample: read_pixels(sample.input)))


def outputs(folder: Path, title: str = "") -> Candidate:
    """Pictures that something else has restored, by their stems, in the folder or in one folder for each test set.

    Args:
        title: name of the row; by default the folder's.

    Raises:
        OSError: where there are none.
    """
    files = [file for place in sorted(sets_of(folder).values()) for file in list_images([place])]
    known = {file: content_of(file) for file in files}
    title = title or last_name(folder)

    def output(sample: Sample) -> np.ndarray:
        file = _of_set(folder, sample)[sample.name]
        pixels = read_pixels(file)
        check_unchanged({file: known.get(file, "")})
        return pixels

    return Candidate(
        title,
        title,
        None,
        digest(FOLDER, *known.values()),
        partial(one_by_one, output),
        partial(_check_outputs, folder),
        facts={"outputs": len(files)},
    )


def command(text: str, title: str = "", seconds: float = SECONDS) -> Candidate:
    """A program that restores a folder of PNG files into another folder, under the same stems.

    It runs once for all pictures of a test set that are missing, without a shell and without input; `{input}` and
    `{output}` stand for the folders. Its pictures are made again when the command, its program or a file that it names
    has changed. What it reads beside these is not known here: after a change of that, take another folder for the run.

    Args:
        title: name of the row; by default that of its script or program.
        seconds: that it may take for a picture, on average; for less than ten pictures, those of ten. When they are
            over, it is ended with all that it has started.

    Raises:
        ValueError: where one of the two is not in it.
        FileNotFoundError: where its program is not there.
    """
    words = words_of(text)
    title = title or last_name(script_of(text))
    return Candidate(
        title,
        title,
        None,
        digest(COMMAND, key_of(words)),
        partial(_ran, words, seconds),
        facts={"command": placeless(text)},
    )


def script_of(text: str) -> Path:
    """What people call a command: its script, else its program, without the ending."""
    words = words_of(text)
    return Path(next((word for word in words if word.endswith((".py", ".sh"))), words[0])).with_suffix("")


def _named_by(model: str) -> Path:
    """The path whose last name a model bears."""
    if model.startswith(COMMAND):
        return script_of(model.removeprefix(COMMAND).strip())
    path = Path(model.removeprefix(FOLDER).strip())
    return path.with_suffix("") if model.endswith(SUFFIXES) else path


def _restorers(
    name: str,
    title: str,
    adapters: list[str],
    qualities: Sequence[str],
    device: torch.device | str,
    running: Callable[[Restorer], Restorer],
    dial: dict[str, Any],
) -> list[Candidate]:
    """A model at every quality; one that takes an adapter gets the next that waits, and is there bare as well.

    Args:
        running: gives a loaded model to its engine.
    """
    model = load(name, device=device)
    if not (adapters and model.takes_adapter):
        run = running(model)
        return [_row(title, run, quality, dial) for quality in (qualities if model.takes_quality else [None])]
    adapter, weights = adapters.pop(0), model.fingerprint(None)
    adapted = load(model, adapter=adapter)
    if not adapted.takes_quality:
        raise ValueError(f"the adapter {adapter} has learned nothing, so it restores as {title} does; leave it out")
    run = running(adapted)
    with_adapter = [_row(f"{title}{ADAPTED}", run, quality, dial) for quality in qualities]
    is_bare = adapted.fingerprint(None) == weights  # a retrained host is none
    bare = run if is_bare else running(load(name, device=device))
    return [_row(title, bare, None, dial), *with_adapter]


def _row(title: str, model: Restorer, quality: str | None, dial: dict[str, Any]) -> Candidate:
    model.check({"fidelity": dial["fidelity"]})
    asked = None if quality is None else parse_quality(quality, tuple(WORDS))
    settings = {"quality": asked} | {name: value for name, value in dial.items() if value is not None}
    weights = model.fingerprint(asked)

    def restored(sample: Sample) -> np.ndarray:
        picture = model.restore(read_tensor(sample.input)[None].to(model.device), **settings)[0]
        if not bool(picture.isfinite().all()):
            raise FloatingPointError("the model gave values that are no numbers")
        return as_pixels(picture)

    return Candidate(
        title if quality is None else f"{title}, {quality}",
        title,
        quality,
        digest(weights, __version__, repr(sorted(settings.items()))),
        partial(one_by_one, restored),
        conditioned_on=() if quality is None else model.conditioned_on,
        facts={
            "weights": weights,
            "engine": f"{model.engine} {model.precision}",
            **_size(model, asked),
            **_licence(model),
            **settings,
        },
    )


def _size(model: Restorer, quality: float | str | None) -> dict[str, int]:
    """Of an exported program it is not known."""
    parts = model.parts(quality)
    return {"parameters": sum(each.numel() for part in parts for each in part.parameters())} if parts else {}


def _licence(model: Restorer) -> dict[str, str]:
    return {"licence": model.licence} if model.licence else {}


def _of_set(folder: Path, sample: Sample) -> dict[str, Path]:
    """The pictures of the sample's test set."""
    return by_stem(folder / sample.dataset if (folder / sample.dataset).is_dir() else folder)


def _check_outputs(folder: Path, samples: Sequence[Sample]) -> None:
    sets = {sample.dataset: sample for sample in samples}
    if len(sets) > 1 and not all((folder / name).is_dir() for name in sets):
        raise ValueError(f"{folder} has outputs of {len(sets)} test sets; give it a folder for each: {', '.join(sets)}")
    for name, sample in sets.items():
        wanted = {one.name: one.input for one in samples if one.dataset == name}
        check_equal(wanted, _of_set(folder, sample), f"the test set {name}", f"{folder}")


def _ran(words: Sequence[str], seconds: float, samples: Sequence[Sample]) -> Iterator[np.ndarray | Failure]:
    """Test sets one after the other, in their order, since their stems may be the same."""
    for dataset in dict.fromkeys(sample.dataset for sample in samples):
        yield from _ran_on(words, seconds, [sample for sample in samples if sample.dataset == dataset])


def _ran_on(words: Sequence[str], seconds: float, samples: Sequence[Sample]) -> Iterator[np.ndarray | Failure]:
    with tempfile.TemporaryDirectory() as place:
        given, made = Path(place, "input"), Path(place, "output")
        given.mkdir()
        made.mkdir()
        for sample in samples:
            Image.fromarray(read_pixels(sample.input)).save(given / f"{sample.name}.png")
        run_program(
            [word.replace(INPUTS, str(given)).replace(OUTPUTS, str(made)) for word in words],
            seconds * max(len(samples), 10),
        )
        outputs = by_stem(made) if has_pictures(made) else {}
        check_equal({one.name: one.input for one in samples}, outputs, "its input", f"the output of {words[0]}")
        yield from one_by_one(lambda sample: read_pixels(outputs[sample.name]), samples)


def _unlike(found: list[Candidate]) -> list[Candidate]:
    if twice := again([candidate.name for candidate in found]):
        raise ValueError(f"two rows would be named {twice[0]!r}; rename the file or folder of one of them")
    return found
