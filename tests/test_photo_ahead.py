"""Looking ahead: the faces of the next photos are found while earlier ones are restored, and nothing else changes."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_runs import run, start, three_photos
from photo_standins import BOX, FACE, LANDMARKS, Echo, Negative, photo
from PIL import Image

from iqp_adapter.photo import CenterFace, Faces, GivenFaces, Options, restore_photos
from iqp_adapter.photo.ahead import ahead
from iqp_adapter.photo.pipeline import Pipeline
from iqp_adapter.pictures import open_photo

TWO = GivenFaces(np.stack([LANDMARKS, LANDMARKS + [30, 0]]), np.stack([BOX, BOX + [30, 0, 30, 0]]))


class Watched:
    """A detector that notes in which threads it is called, and how many calls overlap."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.threads: set[threading.Thread] = set()
        self.calls = self.within = self.most = 0

    def __call__(self, rgb: np.ndarray) -> Faces:
        self.threads.add(threading.current_thread())
        self.calls, self.within = self.calls + 1, self.within + 1
        self.most = max(self.most, self.within)
        time.sleep(self.seconds)
        self.within -= 1
        return FACE(rgb)


def different_photos(count: int) -> list[np.ndarray]:
    return [np.roll(photo(), shift, 2) // (1 + shift % 2) for shift in range(count)]


def looking_ahead() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("iqp-ahead")]


@pytest.mark.parametrize(("detector", "batch"), [(FACE, 3), (TWO, 3), (TWO, 1), (FACE, 16)])
def test_a_list_gives_what_an_iterator_gives(detector: Any, batch: int) -> None:
    serial, overlapped = Negative(), Negative()
    photos = different_photos(7)
    one = list(restore_photos(iter(photos), serial, detector=detector, batch=batch))
    other = list(restore_photos(photos, overlapped, detector=detector, batch=batch))
    assert serial.batches == overlapped.batches
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert [face.box for face in a.faces] == [face.box for face in b.faces]


def test_faces_are_looked_for_while_the_model_works() -> None:
    detector, seen = Watched(), []

    class Slow(Echo):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            until = time.monotonic() + 10
            while detector.calls < 4 and time.monotonic() < until:
                time.sleep(0.01)
            seen.append(detector.calls)
            return lq

    list(restore_photos(different_photos(4), Slow(), detector=detector, batch=2))
    assert seen[0] == 4  # the first batch has two faces, and the other two photos are seen before it is done


def test_the_detector_is_called_from_one_thread_at_a_time_without_gradients_in_the_callers_context() -> None:
    asked = ContextVar("asked", default="nothing")
    found: list[tuple[str, bool]] = []

    class Curious(Watched):
        def __call__(self, rgb: np.ndarray) -> Faces:
            found.append((asked.get(), torch.is_grad_enabled()))
            return super().__call__(rgb)

    detector = Curious(0.01)
    asked.set("this")
    list(restore_photos(different_photos(6), Echo(), detector=detector, batch=2))
    assert (len(detector.threads), detector.most, detector.calls) == (1, 1, 6)
    assert detector.threads != {threading.current_thread()}
    assert found == [("this", False)] * 6


def test_one_photo_needs_no_thread() -> None:
    detector = Watched()
    list(restore_photos([photo()], Echo(), detector=detector))
    assert detector.threads == {threading.current_thread()}


def test_an_iterator_may_wait_for_the_result_before_it_gives_the_next_photo() -> None:
    answered: list[Any] = []

    def requests() -> Iterator[np.ndarray]:
        for index in range(3):
            assert len(answered) == index, "asked too early"
            yield photo()

    for restored in restore_photos(requests(), Echo(), detector=FACE, batch=1):
        answered.append(restored)
    assert len(answered) == 3


# -- errors and ends


def test_a_photo_that_cannot_be_read_raises_in_its_turn(tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    results = restore_photos([tmp_path / "a.png", photo(), tmp_path / "b.png", photo()], Echo(), detector=FACE, batch=1)
    assert next(results).photo.path == tmp_path / "a.png"
    assert next(results).changed
    with pytest.raises(OSError, match="b.png"):
        next(results)
    assert not looking_ahead()


def test_a_detector_that_lacks_a_package_raises_and_one_that_fails_is_reported() -> None:
    def missing(rgb: np.ndarray) -> Faces:
        raise ModuleNotFoundError("no package")

    def failing(rgb: np.ndarray) -> Faces:
        if rgb[0, 0, 0] == 7:
            raise RuntimeError("not this one")
        return FACE(rgb)

    with pytest.raises(ModuleNotFoundError, match="no package"):
        list(restore_photos(different_photos(3), Echo(), detector=missing))
    photos = different_photos(5)
    photos[2] = photos[2].copy()
    photos[2][0, 0, 0] = 7
    done = list(restore_photos(photos, Echo(), detector=failing, batch=2))
    assert [bool(each.failure) for each in done] == [False, False, True, False, False]
    assert not looking_ahead()


def test_a_detector_that_gives_nothing_has_failed() -> None:
    [done] = restore_photos([photo()], Echo(), detector=lambda rgb: None)  # type: ignore[arg-type, return-value]
    assert "looking for faces failed" in done.failure and not done.changed


def test_a_failing_file_in_the_middle_is_reported_where_it_was_before(tmp_path: Path) -> None:
    folder = three_photos(tmp_path / "in", photo())
    (folder / "b.jpg").write_bytes(b"no picture")
    done = run(folder, tmp_path / "out", batch=1)
    assert [(Path(each.source).name, each.status) for each in done] == [
        ("a.png", "restored"),
        ("b.jpg", "failed"),
        ("c.tif", "restored"),
    ]


def test_a_run_that_is_closed_early_leaves_no_thread_and_looks_no_further(tmp_path: Path) -> None:
    detector = Watched(0.05)
    results = restore_photos(different_photos(9), Echo(), detector=detector, batch=4)
    next(results)
    assert looking_ahead()
    results.close()
    calls = detector.calls
    assert not looking_ahead() and calls < 9
    files = start(three_photos(tmp_path / "in", photo()), tmp_path / "out", batch=1, detector=detector)
    next(files)
    files.close()
    assert not looking_ahead()


def test_a_model_that_stops_the_run_leaves_no_thread() -> None:
    class Stopped(Echo):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(restore_photos(different_photos(5), Stopped(), detector=FACE, batch=2))
    assert not looking_ahead()


# -- what is in memory


@pytest.mark.parametrize(("side", "most"), [(96, 2 * 3 + 1), (512, 5)])
def test_what_is_in_memory_has_bounds_in_photos_and_in_megapixels(
    side: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch and as many photos ahead, or four of 0.26 megapixels and one more."""
    monkeypatch.setattr("iqp_adapter.photo.pipeline.HELD_MEGAPIXELS", 1.0)
    alive: list[weakref.ref[Any]] = []
    counts = []

    def opened(index: int) -> Any:
        counts.append(sum(ref() is not None for ref in alive) + 1)
        given = open_photo(np.ascontiguousarray(photo()[:side, :side]))
        alive.append(weakref.ref(given))
        return given

    pipeline = Pipeline(Echo(), Options(batch=3), GivenFaces(LANDMARKS[None] * side / 512))
    for _ in pipeline.run(list(range(20)), opened):
        pass
    assert len(counts) == 20 and 3 < max(counts) <= most + 1  # the caller has one more


def test_things_are_given_as_long_as_there_is_room() -> None:
    rooms: list[int] = []

    def has_room(given: Any) -> bool:
        rooms.append(len(given))
        return len(given) < 3

    assert list(ahead(lambda number: number**2, range(6), has_room)) == [0, 1, 4, 9, 16, 25]
    assert max(rooms) == 3


def test_two_threads_share_no_net() -> None:
    """OpenCV's nets hold what they work on."""
    detector, pictures = CenterFace(), [photo(), np.ascontiguousarray(photo()[:, ::-1])]
    expected = [CenterFace()(picture).boxes for picture in pictures]
    found: dict[int, list[np.ndarray]] = {0: [], 1: []}

    def look(index: int) -> None:
        found[index] += [detector(pictures[index]).boxes for _ in range(3)]

    threads = [threading.Thread(target=look, args=[index]) for index in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, boxes in found.items():
        assert len(boxes) == 3 and all(np.array_equal(each, expected[index]) for each in boxes)
