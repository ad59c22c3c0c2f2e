"""Photos: find the faces, restore them in batches, put them back, and say what was done.

    photo ─ detect ─ align ─┐                    ┌─ paste ─ photo
    photo ─ detect ─ align ─┼─ model.restore(B) ─┼─ paste ─ photo
    photo ─ detect ─ align ─┘                    └─ paste ─ photo

`restore_photo` and `restore_photos` work on arrays, PIL images and files; `restore_files` works through
folders, of which `find_photos` finds the photos.
"""

from __future__ import annotations

from .background import Background
from .centerface import CenterFace
from .detect import Detector, Faces, GivenFaces
from .folder import restore_files
from .options import Options
from .restore import restore_photo, restore_photos
from .result import Restored
from .retinaface import RetinaFace
from .sources import find_photos

__all__ = [
    "Background",
    "CenterFace",
    "Detector",
    "Faces",
    "GivenFaces",
    "Options",
    "Restored",
    "RetinaFace",
    "find_photos",
    "restore_files",
    "restore_photo",
    "restore_photos",
]
