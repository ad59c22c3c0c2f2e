"""What a benchmark compares: the input itself, models, hosts with and without adapters, commands, and folders.

`candidates` reads these words of the command line:

    tiny | FOLDER | owner/name            a model of this library
    FILE.pth | NAME | owner/name/file     a host, as `iqp_adapter.wrap` takes it
    cmd: python x.py {input} {output}     a command that restores a folder into another one
    dir: FOLDER                           outputs that exist already
"""

from __future__ import annotations

import shlex
import subprocess
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
from .cache import content_of, digest
from .test_sets import Sample, by_stem, check_equal, paired, sets_of

INPUT = "input"
ADAPTED = " + adapter"
"""Ends the name of a host with an adapter; without it, it is the bare host's."""

COMMAND, FOLDER = "cmd:", "dir:"

Work = Callable[[Sequence[Sample]], Iterator[np.ndarray]]
"""Restores test pictures in their order, (H, W, 3) uint8 each."""


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
) -> list[Candidate]:
    """The bare input, and every model at every quality that it knows.

    Args:
        models: see the head of this file.
        adapters: folders or Hub ids; the first one is for the first host, and so on. A host with an adapter is compared
            without it as well.
        qualities: "best", "any" or numbers from 0 to 1.
        scale, fidelity: for every model that takes them.

    Raises:
        ValueError: for an adapter without a host, a name that two rows would have, and what models refuse.
        OSError: where a model cannot be fetched.
    """
    waiting, found = list(adapters), [the_input()]
    for model in models:
        if model.startswith(COMMAND):
            found.append(command(model.removeprefix(COMMAND).strip()))
        elif model.startswith(FOLDER):
            found.append(outputs(Path(model.removeprefix(FOLDER).strip())))
        else:
            found += _restorers(model, waiting, qualities, device, {"scale": scale, "fidelity": fidelity})
    if waiting:
        raise ValueError(f"no host for the adapter {waiting[0]}; name its host by --model")
    return _unlike(found)


def the_input() -> Candidate:
    """The inputs as they are."""
    return Candidate(INPUT, INPUT, None, INPUT, lambda samples: (read_pixels(sample.input) for sample in samples))


def outputs(folder: Path) -> Candidate:
    """Pictures that something else has restored, by their stems, in the folder or in one folder for each test set.

    Raises:
        OSError: where there are none.
    """
    files = [file for place in sorted(sets_of(folder).values()) for file in list_images([place])]
    return Candidate(
        folder.name,
        folder.name,
        None,
        digest(FOLDER, content_of(*files)),
        lambda samples: (read_pixels(_of_set(folder, sample)[sample.name]) for sample in samples),
        partial(_check_outputs, folder),
        facts={"outputs": len(files)},
    )


def command(text: str) -> Candidate:
    """A program that restores a folder of PNG files into another folder, under the same stems.

    It runs once for all pictures that are missing, without a shell; `{input}` and `{output}` stand for the folders.

    Raises:
        ValueError: where one of the two is not in it.
    """
    if "{input}" not in text or "{output}" not in text:
        raise ValueError(f"the command {text!r} needs {{input}} and {{output}}, the folders to read and to write")
    name = Path(next((word for word in shlex.split(text) if word.endswith((".py", ".sh"))), shlex.split(text)[0])).stem
    return Candidate(
        name, name, None, digest(COMMAND, text), lambda samples: _ran(text, samples), facts={"command": placeless(text)}
    )


def _restorers(
    name: str, adapters: list[str], qualities: Sequence[str], device: torch.device | str, dial: dict[str, Any]
) -> list[Candidate]:
    """A model at every quality; one that takes an adapter gets the next that waits, and is there bare as well."""
    title, model = Path(name).stem if name.endswith(SUFFIXES) else Path(name).name, load(name, device=device)
    if not (adapters and model.takes_adapter):
        return [_row(title, model, quality, dial) for quality in (qualities if model.takes_quality else [None])]
    adapter = adapters.pop(0)
    adapted = load(model, adapter=adapter)
    if not adapted.takes_quality:
        raise ValueError(f"the adapter {adapter} has learned nothing, so it restores as {title} does; leave it out")
    with_adapter = [_row(f"{title}{ADAPTED}", adapted, quality, dial) for quality in qualities]
    return [_row(title, adapted, None, dial), *with_adapter]


def _row(title: str, model: Restorer, quality: str | None, dial: dict[str, Any]) -> Candidate:
    model.check({"fidelity": dial["fidelity"]})
    asked = None if quality is None else parse_quality(quality, tuple(WORDS))
    settings = {"quality": asked} | {name: value for name, value in dial.items() if value is not None}
    weights = model.fingerprint(asked)

    def work(samples: Sequence[Sample]) -> Iterator[np.ndarray]:
        pictures = (read_tensor(sample.input)[None].to(model.device) for sample in samples)
        return (as_pixels(model.restore(picture, **settings)[0]) for picture in pictures)

    return Candidate(
        title if quality is None else f"{title}, {quality}",
        title,
        quality,
        digest(weights, repr(sorted(settings.items()))),
        work,
        conditioned_on=() if quality is None else model.conditioned_on,
        facts={"weights": weights, "parameters": _parameters(model, asked), **settings},
    )


def _parameters(model: Restorer, quality: float | str | None) -> int:
    return sum(parameter.numel() for part in model.parts(quality) for parameter in part.parameters())


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


def _ran(text: str, samples: Sequence[Sample]) -> Iterator[np.ndarray]:
    """Test sets one after the other, in their order, since their stems may be the same."""
    for dataset in dict.fromkeys(sample.dataset for sample in samples):
        yield from _ran_on(text, [sample for sample in samples if sample.dataset == dataset])


def _ran_on(text: str, samples: Sequence[Sample]) -> Iterator[np.ndarray]:
    with tempfile.TemporaryDirectory() as place:
        given, made = Path(place, "input"), Path(place, "output")
        given.mkdir()
        made.mkdir()
        for sample in samples:
            Image.fromarray(read_pixels(sample.input)).save(given / f"{sample.name}.png")
        words = [word.replace("{input}", str(given)).replace("{output}", str(made)) for word in shlex.split(text)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise OSError(f"{words[0]} ended with status {done.returncode}: {lines[-1] if lines else 'no output'}")
        outputs = {stem: output for stem, _, output in paired(given, made)}
        yield from (read_pixels(outputs[sample.name]) for sample in samples)


def _unlike(found: list[Candidate]) -> list[Candidate]:
    names = [candidate.name for candidate in found]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two rows would be named {again!r}; rename the file or folder of one of them")
    return found
