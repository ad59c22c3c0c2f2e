"""What a file of a library is, by its name: a picture, or something to leave out, and why."""

from __future__ import annotations

from pathlib import Path

from ..store.files import HEIF_SUFFIXES, IMAGE_SUFFIXES, OTHER_SUFFIXES, RAW_SUFFIXES

HIDDEN, SIDECAR, THUMBNAIL = "hidden", "sidecars", "thumbnails"
"""What is left out and counted, since nobody takes it for a photo."""

SIDECARS = frozenset({".aae", ".cos", ".dop", ".json", ".on1", ".pp3", ".thm", ".vrd", ".xmp"})
THUMBNAILS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx"})
"""Names, in lower case, of what systems keep beside photos."""

FILMS = frozenset({".3gp", ".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"})

_REASONS = {
    **dict.fromkeys(OTHER_SUFFIXES, "a kind of picture that is not read; save it as PNG or JPEG"),
    **dict.fromkeys(FILMS, "a film; restore it by itself: iqp restore FILM -o RESULT"),
    **dict.fromkeys(RAW_SUFFIXES, "a raw photo; develop it first, as TIFF or JPEG"),
    **dict.fromkeys((".gif", ".apng"), "a picture that may move; save the one to use as PNG"),
    **dict.fromkeys(HEIF_SUFFIXES, "needs a further package: pip install 'iqp_adapter[heif]'"),
    ".avif": "needs a Pillow that reads AVIF: pip install -U pillow",
}


def counted_as(name: str) -> str | None:
    """The kind of a file or folder that is left out and only counted."""
    if name.lower() in THUMBNAILS:
        return THUMBNAIL
    if name.startswith("."):
        return HIDDEN
    return SIDECAR if _suffix(name) in SIDECARS else None


def is_film(name: str) -> bool:
    """Whether a name is that of a film."""
    return _suffix(name) in FILMS


def why_left_out(name: str) -> str:
    """Why a file is left out that has a name of its own; empty for a picture."""
    suffix = _suffix(name)
    return "" if suffix in IMAGE_SUFFIXES else _REASONS.get(suffix, "no picture")


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
