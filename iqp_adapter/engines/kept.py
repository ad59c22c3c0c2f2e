"""Exports that are made on their first use and kept in the cache, by all that they depend on."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..restorer import Restorer
from ..store.fetch import cache
from ..store.temporary import temporary_name
from ..version import __version__
from .export import export
from .exported import Exported
from .facts import Facts
from .formats import NotHereError, version_of, writing_format_of

logger = logging.getLogger(__name__)

PATIENCE = 1800.0
"""Seconds that a process waits for another one, which makes the same export."""


def kept_export(restorer: Restorer, format: str, precision: str, device: torch.device | None = None) -> Exported:
    """The restorer as a program, which is exported where the cache has none; that is said in one line.

    Raises:
        NotExportableError: for a restorer that cannot be exported.
        NotHereError: for a precision that this machine does not have.
        ValueError: for int8, which needs pictures.
        OSError: where the cache cannot be written.
    """
    if precision == "int8":
        raise ValueError(
            f"int8 needs pictures to find its ranges; run 'iqp export --format {format} --precision int8 --calibrate "
            f"FOLDER', and load what it writes"
        )
    folder = cache() / "engines" / _key(restorer, format, precision)
    found = _found(folder, device)
    if isinstance(found, Exported):
        return found
    try:
        return _made(restorer, folder, format, precision, device)
    except OSError as error:
        raise OSError(
            f"cannot keep an export of {restorer.name} ({error}); set HF_HOME to a folder that can be written, or "
            f"take the engine torch"
        ) from error


def _found(folder: Path, device: torch.device | None) -> Exported | Exception:
    """What is kept there, or what is wrong with it."""
    try:
        return Exported(folder, device)
    except NotHereError:  # nothing is wrong with it
        raise
    except (ValueError, FileNotFoundError) as error:
        return error


def _made(restorer: Restorer, folder: Path, format: str, precision: str, device: torch.device | None) -> Exported:
    with _alone(folder):
        found = _found(folder, device)  # a process that was faster may have made it
        if isinstance(found, Exported):
            return found
        if folder.exists():
            logger.warning("%s; it is made anew", found)
            _remove(folder)
        name = restorer.name
        logger.warning("exporting %s for %s once, which may take a minute; it is kept in %s", name, format, folder)
        export(restorer, folder, format, precision)
        return Exported(folder, device)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes an export; one that is killed keeps nobody waiting."""
    from huggingface_hub.utils import WeakFileLock

    locks = cache() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(locks / f"{folder.name}.lock", timeout=PATIENCE):
        yield


def _remove(folder: Path) -> None:
    """In one step for whoever looks; an engine that runs it keeps what it has read."""
    aside = folder.with_name(temporary_name(folder.name))
    os.replace(folder, aside)
    shutil.rmtree(aside)


def _key(restorer: Restorer, format: str, precision: str) -> str:
    """Name of the folder: weights and settings, and the versions of what writes and runs it."""
    kind = writing_format_of(format)
    versions = [f"{name} {version_of(name)}" for name in ("torch", *kind.PACKAGES, *kind.WRITERS)]
    facts = Facts.of(restorer)
    parts = [repr(facts.to_config()), format, precision, __version__, *versions]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return f"{re.sub(r'[^a-z0-9]+', '-', facts.name.lower())}-{format}-{precision}-{digest}"
