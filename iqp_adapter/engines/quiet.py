"""Exporters warn of what is no news here, and change how much everybody logs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

TALKATIVE = ("onnxscript", "onnx_ir", "nncf")
"""Loggers that say what was not optimised, and how ranges are found."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within it exporters keep to themselves; afterwards logging is as it was."""
    loggers = [logging.getLogger(), *map(logging.getLogger, TALKATIVE)]
    levels = [logger.level for logger in loggers]
    for logger in loggers[1:]:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
