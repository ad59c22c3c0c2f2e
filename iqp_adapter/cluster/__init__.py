"""Many machines: Ray Data spreads photos over actors, one a device, each of which does what a process alone would do.

    names of photos ─┬─ actor: model ─ photo/folder, or scoring/score_files ─┬─ reports, as they come
                     └─ actor: model ─ ...                                  ─┘

Ray hands out names and takes back reports. Photos are read and results written by the actors, on storage that all
machines see at the same path; leases there guard each photo (see `store/leases`), whatever Ray repeats.
"""

from __future__ import annotations

from .restore import restore_files
from .score import score_files

__all__ = ["restore_files", "score_files"]
