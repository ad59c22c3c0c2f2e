"""What is shown, as HTML: before and after under one slider, close-ups of the faces with their scores, and one line.

Pictures are part of the HTML, so that none of a visitor's is ever a file.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from io import BytesIO
from string import Template

import numpy as np
from PIL import Image

from ..photo import Restored
from ..photo.outcomes import FaceReport, Outcome
from ..scoring.scorer import Scorer
from ..store.words import counted

LONGEST, CLOSE = 1280, 320
"""Pixels on the longer side of a photo as it is shown, and of a close-up."""

AROUND = 1.5
"""Side of a close-up, in units of the face's box."""

MOST = 6
"""Faces that are shown close up, the largest first."""


def line(text: str, is_error: bool = False) -> str:
    """One line that is read out when it changes."""
    role, kind = ("alert", "error") if is_error else ("status", "said")
    return f'<p class="{kind}" role="{role}">{escape(" ".join(text.split()))}</p>'


def summary(found: Restored, left_out: int = 0) -> str:
    """What was done, in one line.

    Args:
        left_out: how many faces nobody tried to restore, since they are too many.
    """
    if found.failures:
        return line("; ".join(found.failures), is_error=True)
    if not found.faces:
        return line("No face was found in this photo, so nothing was changed.")
    done = sum(face.outcome is Outcome.RESTORED for face in found.faces)
    faces = counted(len(found.faces), "face")
    which = f"The {faces} that are the largest of {len(found.faces) + left_out}:" if left_out else f"{faces} found,"
    return line(f"{which} {done} restored, in {found.seconds:.1f} seconds.")


_COMPARE = Template("""<div class="photo" style="--ratio: $width / $height"><figure class="compare">
<img class="after" src="$after" alt="The photo with its faces restored">
<img class="before" src="$before" alt="The photo as it was given">
$frames<span class="tag left" aria-hidden="true">before</span><span class="tag right" aria-hidden="true">after</span>
<span class="edge" aria-hidden="true"></span>
<input type="range" min="0" max="100" value="50" aria-label="Percent of the photo that is shown as it was">
</figure>
<p class="under"><label><input type="checkbox" class="framed" checked> Frame the faces</label>
<a class="save" download="restored.jpg">Save this picture</a></p></div>""")


def compare(found: Restored) -> str:
    """The photo before and after, one over the other."""
    height, width = found.pixels.shape[:2]
    frames = "".join(_frame(face, width, height) for face in found.faces)
    before, after = (picture(pixels, LONGEST) for pixels in (found.photo.pixels, found.pixels))
    return _COMPARE.substitute(width=width, height=height, before=before, after=after, frames=frames)


def _frame(face: FaceReport, width: int, height: int) -> str:
    left, top, right, bottom = face.box
    place = (
        f"left: {left / width:.2%}; top: {top / height:.2%}; "
        f"width: {(right - left) / width:.2%}; height: {(bottom - top) / height:.2%}"
    )
    return f'<span class="frame" style="{place}" aria-hidden="true"><b>{face.index + 1}</b></span>'


def faces(found: Restored, scorers: Iterable[Scorer]) -> str:
    """Close-ups of the faces, and how they score."""
    lower = {scorer.metric: scorer.lower_better for scorer in scorers}
    largest = sorted(found.faces, key=_area, reverse=True)[:MOST]
    cards = [_card(face, found, lower) for face in sorted(largest, key=lambda face: face.index)]
    more = len(found.faces) - len(cards)
    said = f'<p class="more">And {more} more, which are smaller.</p>' if more else ""
    return f'<div class="faces">{"".join(cards)}</div>{said}{_MEANING}' if cards else ""


def _card(face: FaceReport, found: Restored, lower: dict[str, bool]) -> str:
    rows = [_row(name, *values) for name, *values in _measures(face, lower)]
    head = '<tr><td></td><th scope="col">before</th><th scope="col">after</th></tr>'
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    notes = "".join(f"<p>{escape(text)}</p>" for text in (_left_alone(face), face.note) if text)
    looks = [
        f'<img src="{picture(close_up(pixels, face), CLOSE)}" alt="Face {face.index + 1}, {when}">'
        for pixels, when in ((found.photo.pixels, "before"), (found.pixels, "after"))
    ]
    return (
        f'<section class="face"><h3>Face {face.index + 1}</h3><div class="looks">{"".join(looks)}</div>'
        f"{table}{notes}</section>"
    )


SHARP = "Restore sharp faces, too"
"""The option that restores them by force."""


def _left_alone(face: FaceReport) -> str:
    if face.outcome is Outcome.LARGE:
        return f"Left alone: it has more detail than the model gives. “{SHARP}”, in the options, restores it."
    return f"Left alone: {face.skipped}." if face.skipped else ""


def _measures(face: FaceReport, lower: dict[str, bool]) -> list[tuple[str, str, str]]:
    """Name, before and after."""
    rows = []
    for metric, scores in face.scores.items():
        arrow = "↓" if lower.get(metric) else "↑"
        before, after = (f"{scores[when]:.1f}" if when in scores else "" for when in ("before", "after"))
        rows.append((f"{metric} {arrow}", before, after))
    if face.identity is not None:
        rows.append(("identity", "", f"{face.identity:.2f}"))
    return rows


def _row(name: str, before: str, after: str) -> str:
    return f'<tr><th scope="row">{escape(name)}</th><td>{before}</td><td>{after}</td></tr>'


_MEANING = """<details><summary>What the numbers mean</summary><dl>
<dt>↑ ↓</dt><dd>Metrics of quality. With ↑ higher is better, with ↓ lower.</dd>
<dt>identity</dt><dd>How alike the face is before and after. Two photos of one person have more than about 0.9.</dd>
</dl></details>"""


def _area(face: FaceReport) -> float:
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)


def close_up(pixels: np.ndarray, face: FaceReport) -> np.ndarray:
    """The part of a photo (H, W, 3) that shows a face and some of what is around it."""
    left, top, right, bottom = face.box
    half = AROUND * max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    rows, columns = (slice(max(0, round(at - half)), max(1, round(at + half))) for at in (y, x))
    return pixels[rows, columns]


def picture(pixels: np.ndarray, longest: int) -> str:
    """Pixels (H, W, 3) uint8 as an address that holds the picture itself, at most that many pixels long."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stored = BytesIO()
    image.save(stored, "JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{b64encode(stored.getvalue()).decode()}"
