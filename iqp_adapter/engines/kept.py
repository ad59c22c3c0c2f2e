"""Exports that are made on their first use and kept in the cache, by all that they depend on."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from importlib import metadata

import torch

from ..restorer import Restorer
from ..store.fetch import cache
from ..version import __version__
from .export import export
from .exported import Exported
from .facts import Facts
from .formats import format_of

logger = logging.getLogger(__name__)


def kept_export(restorer: Restorer, format: str, precision: str, device: torch.device | None = None) -> Exported:
    """The restorer as a program, which is exported where the cache has none; that is said in one line.

    Raises:
        NotExportableError: for a restorer that cannot be exported.
        ValueError: for int8, which needs pictures.
    """
    if precision == "int8":
        raise ValueError(
            f"int8 needs pictures to find its ranges; run 'iqp export --format {format} --precision int8 --calibrate "
            f"FOLDER', and load what it writes"
        )
    folder = cache() / "engines" / _key(restorer, format, precision)
    if folder.exists():
        try:
            return Exported(folder, device)
        except (ValueError, OSError) as error:
            logger.warning("%s; it is made anew", error)
            shutil.rmtree(folder)
    logger.warning("exporting %s for %s once, which may take a minute; it is kept in %s", restorer.name, format, folder)
    try:
        export(restorer, folder, format, precision)
    except OSError:
        if not folder.exists():  # by a process beside this one
            raise
    return Exported(folder, device)


def _key(restorer: Restorer, format: str, precision: str) -> str:
    """Name of the folder: weights and settings, and the versions of what writes and runs it."""
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", *format_of(format).PACKAGES)]
    facts = Facts.of(restorer)
    parts = [repr(facts.to_config()), format, precision, __version__, *versions]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return f"{re.sub(r'[^a-z0-9]+', '-', facts.name.lower())}-{format}-{precision}-{digest}"
