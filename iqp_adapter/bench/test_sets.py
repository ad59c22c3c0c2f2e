"""Test sets: folders of degraded faces, with or without originals, published ones, and good faces degraded by a seed.

Pictures are paired by their stems. A picture without its counterpart is an error: leaving it out silently would make a
mean better or worse than it is. A new published set is one line in `PUBLISHED`; a new kind of degradation is one file
and one line in `iqp_adapter.degradations.kinds`, and needs no change here.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..degradations.checks import degraded as checked
from ..pictures import read_large, read_pixels, resample, size_of
from ..store import hub
from ..store.files import IMAGE_SUFFIXES, list_images, sha256_of, some_of
from .intervals import person_of
from .names import again, last_name, plain
from .outputs import is_made_of, write_png

_HUB = f"{hub.DATASETS}LIAGM/DAEFR_test_datasets/"


@dataclass(frozen=True)
class Published:
    """A test set on the Hub: archives of its inputs, and of its originals where it has some."""

    inputs: str
    originals: str | None = None


PUBLISHED = {
    "celeba-test": Published(f"{_HUB}self_celeba_512_v2.zip", f"{_HUB}celeba_512_validation.zip"),
    "lfw-test": Published(f"{_HUB}lfw_cropped_faces.zip"),
    "wider-test": Published(f"{_HUB}Wider-Test.zip"),
}
"""WebPhoto-Test and CelebChild are given as folders: no repository on the Hub has them under a stable name."""

Degrade = Callable[[np.ndarray, int], np.ndarray]
"""A picture (H, W, 3) float32 RGB in [0, 1] and a seed -> the degraded one. Its `repr` names all settings."""


@dataclass(frozen=True)
class Sample:
    """One test picture: its files, who is on it, and the test set that it belongs to."""

    name: str
    group: str
    dataset: str
    input: Path
    original: Path | None = None


def from_folder(inputs: Path, originals: Path | None = None, name: str = "") -> list[Sample]:
    """Degraded faces of a folder, or of its subfolders, each of which is a test set then.

    Args:
        inputs: folder of pictures, or of folders of pictures.
        originals: of the same form, with exactly one picture of the same stem and size for every input.
        name: of the test set where `inputs` has pictures itself; by default that of the folder.

    Raises:
        ValueError: where pictures do not match, naming them.
        OSError: where there are none, and for a picture that cannot be read, naming it.
    """
    sets = sets_of(inputs)
    single = sets == {last_name(inputs): inputs}
    wanted: Mapping[str, Path | None] = dict.fromkeys(sets)
    if originals is not None:
        wanted = {last_name(inputs): originals} if single else sets_of(originals)
        check_equal(sets, wanted, f"test sets of {inputs}", f"test sets of {originals}")
    titles = {last_name(inputs): plain(name)} if single and name else {}
    return [sample for key, folder in sets.items() for sample in _samples(titles.get(key, key), folder, wanted[key])]


def published(name: str, cache: Path) -> list[Sample]:
    """A published test set, fetched and unpacked once.

    Raises:
        ValueError: for a name that is not known.
        OSError: where it cannot be fetched.
    """
    if name not in PUBLISHED:
        raise ValueError(f"no test set {name!r}; published: {', '.join(PUBLISHED)}; else give a folder")
    found = PUBLISHED[name]
    inputs = _unpacked(hub.fetch_file(found.inputs), cache / name / "inputs")
    originals = _unpacked(hub.fetch_file(found.originals), cache / name / "originals") if found.originals else None
    return _samples(name, inputs, originals)


def degraded(
    faces: Path,
    out: Path,
    limit: int | None = None,
    size: int = 512,
    seed: int = 0,
    draws: int = 1,
    changes: Mapping[str, Any] | None = None,
    name: str = "",
) -> list[Sample]:
    """Good faces and their seeded degradations, written as PNG files where they are not there yet.

    The seed, the number of the draw and the content of the file decide a degradation. The names of file and folder and
    the other files do not count.

    Args:
        out: folder for the pictures, inputs and originals.
        limit: so many faces, the first ones.
        size: side of both in pixels.
        draws: degradations of every face.
        changes: `kind` of the degradation ("face" where it is not given), and those of its attributes that differ
            from its default.
        name: of the test set; by default that of the folder.

    Raises:
        ValueError: for a face that is smaller than `size`, and for a kind or attribute that does not exist.
        OSError: for a face that cannot be read, naming it.
    """
    from ..degradations.kinds import degradation_of
    from ..degradations.rng import sample_seed

    degradation = degradation_of(size, **changes or {})
    return [
        _degraded(
            face,
            plain(name) if name else last_name(faces),
            f"{stem}~{draw}" if draws > 1 else stem,
            out,
            degradation,
            size,
            sample_seed(seed, draw, 0, "degradation", sha256_of(face)),
        )
        for stem, face in list(by_stem(faces).items())[:limit]
        for draw in range(draws)
    ]


def by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their stems, sorted.

    Raises:
        ValueError: where two files have one stem; upper and lower case count as equal.
    """
    files = list_images([folder])
    if twice := again([file.stem for file in files]):
        first, second, *_ = (file.name for file in files if file.stem.casefold() == twice[0].casefold())
        raise ValueError(f"{folder} has {first} and {second}; stems must be unique, upper and lower case aside")
    return {file.stem: file for file in files}


def paired(folder: Path, other: Path) -> Iterator[tuple[str, Path, Path]]:
    """Stem and both files of every picture.

    Raises:
        ValueError: where a picture of either folder is not in the other one.
    """
    these, those = by_stem(folder), by_stem(other)
    check_equal(these, those, str(folder), str(other))
    for stem, file in these.items():
        yield stem, file, those[stem]


def check_equal(these: Mapping[str, Any], those: Mapping[str, Any], name: str, other: str) -> None:
    missing, surplus = sorted(these.keys() - those.keys()), sorted(those.keys() - these.keys())
    if missing or surplus:
        raise ValueError(
            f"{other} does not match {name}: {some_of(missing)} missing, {some_of(surplus)} left over; every picture "
            f"needs its counterpart of the same stem"
        )


def check_readable(files: Iterable[Path]) -> None:
    """Raises OSError with the names of the files that are no pictures, or broken ones."""
    if broken := [reason for file in files if (reason := _unreadable(file))]:
        raise OSError(
            f"{len(broken)} test pictures cannot be read; mend them or take them out: {'; '.join(broken[:3])}"
        )


def _unreadable(file: Path) -> str:
    """Why a picture cannot be read, with its name; empty where it can."""
    from PIL.Image import DecompressionBombError

    try:
        read_pixels(file)
    except (OSError, ValueError, SyntaxError, DecompressionBombError) as error:
        return str(error) if str(file) in str(error) else f"{file}: {error}"
    return ""


def sets_of(folder: Path) -> dict[str, Path]:
    """The folder itself where it has pictures, else its subfolders that have some."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; give a folder of pictures, or one of {', '.join(PUBLISHED)}")
    if has_pictures(folder):
        return {last_name(folder): folder}
    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and has_pictures(path)}
    if not inside:
        raise FileNotFoundError(f"no pictures in {folder}, nor in a folder in it")
    return inside


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture in the folder itself."""
    try:
        return bool(list_images([folder]))
    except FileNotFoundError:
        return False


def _samples(name: str, inputs: Path, originals: Path | None) -> list[Sample]:
    if originals is None:
        return [Sample(stem, person_of(file), name, file) for stem, file in by_stem(inputs).items()]
    pairs = list(paired(inputs, originals))
    for _, file, original in pairs:
        _check_size(file, original)
    return [Sample(stem, person_of(file), name, file, original) for stem, file, original in pairs]


def _check_size(file: Path, original: Path) -> None:
    one, other = size_of(file), size_of(original)
    if one != other:
        raise ValueError(f"{file} is {one} and its original {other}; bring them to one size first")


def _degraded(face: Path, dataset: str, name: str, out: Path, degradation: Degrade, size: int, key: int) -> Sample:
    """One degradation of one face; `key` decides its draws."""
    original, target = out / "originals" / f"{face.stem}.png", out / "inputs" / f"{name}.png"
    source = f"{sha256_of(face)} {size} px"
    made = f"{source} {key} {degradation}"
    if not is_made_of(original, source):
        check_readable([face])
        write_png(original, _clean(face, size), source)
    if not is_made_of(target, made):
        clean = np.asarray(read_pixels(original), np.float32) / 255
        write_png(target, (checked(degradation, clean, key) * 255).round().astype(np.uint8), made)
    return Sample(name, person_of(face), dataset, target, original)


def _clean(face: Path, size: int) -> np.ndarray:
    """The centre square of a file at another size, (size, size, 3) uint8."""
    try:
        picture = read_large(face, size)
    except ValueError as error:
        raise ValueError(f"{error}; choose a smaller size, or leave it out") from error
    return (resample(picture, np.eye(2, 3), size) * 255).round().clip(0, 255).astype(np.uint8)


def _unpacked(archive: Path, folder: Path) -> Path:
    """The pictures of an archive in one folder, whole or not at all; folders inside it are left out."""
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            name = Path(entry.filename).name
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and "__MACOSX" not in entry.filename:
                with content.open(entry) as source, (partial / name).open("xb") as target:
                    shutil.copyfileobj(source, target)
    return partial.rename(folder)
