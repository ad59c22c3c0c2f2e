"""Finds the host files of a source tree in the top-level adapters/; a wheel has them here, instead of this file."""

from pathlib import Path

__path__.append(str(Path(__file__).resolve().parents[2] / "adapters"))
