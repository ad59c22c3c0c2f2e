"""Restoring photos from Python: arrays, PIL images and paths."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..restorer import Restorer
from .background import Background
from .centerface import CenterFace
from .detect import Detector
from .options import Embedder, FaceScorer, Options
from .pipeline import Pipeline
from .result import Restored


def restore_photo(photo: Any, model: Restorer, out: str | Path | None = None, **options: Any) -> Any:
    """Restores the faces of one photo and returns it as what it was given.

    Args:
        photo: RGB array (H, W, 3), or (H, W), (H, W, 1), (H, W, 4), of uint8, uint16 or floating point in [0, 1];
            a PIL image; or a path, which needs `out`.
        out: where to write the result; a path is returned then.
        options: as `restore_photos` takes them.

    Raises:
        RuntimeError: where a face cannot be restored; `restore_photos` restores the others, and reports it.
    """
    if isinstance(photo, (str, Path)) and out is None:
        raise ValueError(f"where should the restored {photo} go? pass out=")
    [restored] = restore_photos([photo], model, **options)
    if restored.failures:
        raise RuntimeError(f"{'; '.join(restored.failures)}; restore_photos keeps what else was restored")
    if out is None:
        return restored.image
    restored.save(out)
    return Path(out)


def restore_photos(
    photos: Iterable[Any],
    model: Restorer,
    *,
    detector: Detector | None = None,
    scorers: Sequence[FaceScorer] = (),
    embedder: Embedder | None = None,
    background: Background | None = None,
    **options: Any,
) -> Generator[Restored, None, None]:
    """Restores photos one after the other while their faces share batches.

    Args:
        photos: arrays, PIL images, paths, or what `open_photo` returned. Of a list the next ones are read, and looked
            at for faces by one more thread, while faces are restored; an iterator is asked for each in its turn.
        model: what `iqp_adapter.load` gives, native or wrapped, or a `Restorer` of your own.
        detector: finds the faces, in one photo at a time; `CenterFace()` by default, `GivenFaces(landmarks)` where you
            know them.
        scorers: score each face before and after, for the report.
        embedder: says how alike each face is before and after.
        background: enlarges the rest of the photo, in the place of Lanczos; at `upscale=1` it restores that, too.
        options: the fields of `Options`.

    Yields:
        The photos in their order.
    """
    return Pipeline(model, Options(**options), detector or CenterFace(), scorers, embedder, background).run(photos)
