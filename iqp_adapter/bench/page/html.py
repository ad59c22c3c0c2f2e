"""Writes a report as one HTML page that needs no other file and no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from ...store.files import atomic_path
from ..report import Report, differences, summary
from ..text import plain
from .album import LONGEST_SIDE, Album, collect

PICTURE_BUDGET = 24_000_000
"""Bytes that the pictures of a page may take."""


def write_page(report: Report, path: Path, budget: int = PICTURE_BUDGET) -> None:
    """Writes the page whole or not at all; it needs no network, so it can be mailed and kept.

    Numbers keep six digits. Pictures are reduced copies. Those that do not fit into the budget are left out, and the
    page says how many.

    Args:
        report: paths of its images are relative to the folder of the page.
        path: of the HTML file; an earlier one is replaced.
        budget: bytes for pictures, as they stand in the file.

    Raises:
        FileNotFoundError: where the folder does not exist.
    """
    path = Path(path)
    with atomic_path(path) as partial:
        page = _page(report, collect(report, path.parent, budget))
        partial.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")


def _page(report: Report, album: Album) -> str:
    """With the hashes a browser refuses every other style or script, and every request."""
    style, script = _asset("page.css"), _asset("page.js")
    return Template(_asset("template.html")).substitute(
        title=escape(report.title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        report=_inline(_content(report, album)),
        pictures=_inline(album.uris),
    )


def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names an inline style or script."""
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


def _content(report: Report, album: Album) -> dict[str, Any]:
    """Everything that the script draws: the report, its intervals for each test set, and where the pictures are."""
    return asdict(report) | {
        "parts": {name: _numbers(part) for name, part in _parts(report).items()},
        "images": album.shown,
        "album": {"kept": album.kept, "side": LONGEST_SIDE, "unreadable": album.unreadable},
    }


def _parts(report: Report) -> dict[str, Report]:
    """The whole report as "", and every test set of several."""
    sets = dict.fromkeys(picture.dataset for picture in report.pictures)
    return {"": report} | ({name: _only(report, name) for name in sets} if len(sets) > 1 else {})


def _only(report: Report, dataset: str) -> Report:
    """The report on one test set; values over all sets together, such as FID, are left out."""
    inside = [picture.dataset == dataset for picture in report.pictures]

    def kept(items: Sequence[Any]) -> list[Any]:
        return [item for item, here in zip(items, inside, strict=True) if here]

    values = {method: {column: kept(of) for column, of in row.items()} for method, row in report.values.items()}
    return replace(report, pictures=kept(report.pictures), values=values, set_values={})


def _numbers(report: Report) -> dict[str, Any]:
    return {"pictures": len(report.pictures), "summary": summary(report), "differences": differences(report)}


def _inline(content: Any) -> str:
    """JSON that no HTML parser can mistake for markup, whatever the strings in it say."""
    text = json.dumps(plain(content), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
