"""Scores of files: one bad picture costs itself, memory has a bound, and a failing cache stops nothing."""

from __future__ import annotations

import math
import sqlite3
import weakref
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from iqp_adapter.scoring import score_files as module
from iqp_adapter.scoring import tiles
from iqp_adapter.scoring.score_cache import ScoreCache
from iqp_adapter.scoring.score_files import FileScores, score_files
from iqp_adapter.scoring.scorer import Scorer


class Brightness:
    """Stands in for a scorer: the mean of an image."""

    lower_better, tiled, earlier = False, False, ()

    def __init__(self, name: str = "brightness") -> None:
        self.metric, self.protocol = name, f"{name}/v1"
        self.batches: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        if (images.amax((1, 2, 3)) == 0).any():
            raise ValueError(f"{self.metric} has no score for a black image")
        return images.mean((1, 2, 3))


@pytest.fixture
def cache(tmp_path) -> ScoreCache:
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        yield cache


def pictures(folder: Path, *sizes: tuple[int, int]) -> list[Path]:
    paths = [folder / f"{place}.png" for place in range(len(sizes))]
    for place, path in enumerate(paths):
        Image.new("RGB", sizes[place], (50 + place, 60, 70)).save(path)
    return paths


class TestMemory:
    def test_a_batch_has_as_many_pictures_as_fit_into_its_pixels(self, tmp_path, cache, monkeypatch):
        monkeypatch.setattr(tiles, "WHOLE", 2 * 64 * 64)
        scorer = Brightness()
        list(score_files(pictures(tmp_path, *[(64, 64)] * 5), [scorer], cache, batch=8))
        assert scorer.batches == [2, 2, 1]

    def test_large_pictures_are_scored_one_at_a_time_with_one_notice(self, tmp_path, cache, monkeypatch, caplog):
        monkeypatch.setattr(tiles, "WHOLE", 64 * 64)
        paths = pictures(tmp_path, (32, 32), *[(80, 64)] * 3)
        scorers = [Brightness(), Brightness("other")]
        scorers[1].tiled = True
        list(score_files(paths, scorers, cache))
        assert scorers[0].batches == scorers[1].batches == [1, 1, 1, 1]
        [notice] = caplog.messages
        assert notice.startswith(f"{paths[1]} has 80 x 64 pixels: pictures above 0 megapixels are scored one at a time")
        assert notice.endswith("and brightness takes them whole, in memory that grows with their size")

    def test_no_picture_is_held_while_the_next_large_one_is_read(self, tmp_path, cache, monkeypatch):
        monkeypatch.setattr(tiles, "WHOLE", 64 * 64)
        held: list[weakref.ref] = []

        def read(path: Path) -> Tensor:
            assert not [image for image in held if image() is not None]
            image = torch.rand(3, 80, 80)
            held.append(weakref.ref(image))
            return image

        monkeypatch.setattr(module, "read_tensor", read)
        assert len(list(score_files(pictures(tmp_path, *[(8, 8)] * 4), [Brightness()], cache))) == 4
        assert len(held) == 4


@pytest.mark.parametrize("metric", ["iqp-lite", "niqe", "piqe"])
def test_neither_neighbours_nor_the_batch_change_a_score(tmp_path, metric):
    from skimage.data import astronaut

    for place in range(5):
        Image.fromarray(astronaut()[40 * place :][:192, 60 * place :][:, :192]).save(tmp_path / f"{place}.png")
    paths, scorer = sorted(tmp_path.iterdir()), Scorer(metric, device="cpu")

    def scores(paths: list[Path], batch: int) -> list[float]:
        return [file.scores[scorer.metric] for file in score_files(paths, [scorer], ScoreCache(":memory:"), batch)]

    expected = scores(paths, 1)
    assert len(set(expected)) == 5
    assert scores(paths, 2) == pytest.approx(expected, abs=1e-4)
    assert scores(paths[::-1], 8)[::-1] == pytest.approx(expected, abs=1e-4)


class TestBadPictures:
    def test_a_broken_picture_costs_itself_and_is_named(self, tmp_path, cache):
        paths = pictures(tmp_path, *[(40, 40)] * 4)
        paths[1].write_bytes(paths[1].read_bytes().replace(b"IDAT", b"\0\1\2\3"))  # Pillow raises a SyntaxError
        paths[2].write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 30)
        results = list(score_files(paths, [Brightness()], cache))
        assert [bool(file.scores) for file in results] == [True, False, False, True]
        assert all(file.error and "\n" not in file.error and str(tmp_path) not in file.error for file in results[1:3])

    def test_every_metric_without_a_score_says_so(self, tmp_path, cache):
        Image.new("RGB", (40, 40)).save(tmp_path / "black.png")
        [file] = score_files([tmp_path / "black.png"], [Brightness("a"), Brightness("b")], cache)
        assert file.error == "a has no score for a black image; b has no score for a black image"

    def test_a_file_that_changes_while_it_is_read_has_no_score(self, tmp_path, cache, monkeypatch):
        [path] = pictures(tmp_path, (40, 40))

        def read(path: Path) -> Tensor:
            Image.new("RGB", (50, 50), "white").save(path)
            return torch.ones(3, 50, 50)

        monkeypatch.setattr(module, "read_tensor", read)
        [file] = score_files([path], [Brightness()], cache)
        assert not file.scores and "changed while it was read" in file.error


@contextmanager
def locked(cache: ScoreCache):
    with sqlite3.connect(cache.path) as other:
        cache._database.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def full(cache: ScoreCache):
    cache._database.execute("PRAGMA max_page_count = 2")
    cache.put("filler", {"x" * 100 * place: 0.0 for place in range(20)})
    yield


@contextmanager
def read_only(cache: ScoreCache):
    cache._database.execute("PRAGMA query_only = 1")
    yield


@contextmanager
def damaged(cache: ScoreCache):
    content = bytearray(Path(cache.path).read_bytes())
    content[4096:] = b"\xff" * len(content[4096:])
    Path(cache.path).write_bytes(content)
    cache._database = sqlite3.connect(cache.path)  # another process, which knows no page yet
    yield


class TestCache:
    @pytest.mark.parametrize("fault", [locked, full, read_only, damaged])
    def test_one_that_fails_is_said_once_and_scores_go_on(self, tmp_path, cache, caplog, fault):
        paths = pictures(tmp_path, *[(40, 40)] * 3)
        with fault(cache):
            results = list(score_files(paths, [Brightness()], cache, batch=1))
        assert all("brightness" in file.scores and not file.error for file in results)
        [line] = caplog.messages
        assert line.startswith(f"the score cache {cache.path} fails (") and "\n" not in line
        assert not cache.keeps

    @pytest.mark.parametrize("value", ["high", b"\0\1", math.inf, -math.inf])
    def test_what_is_no_finite_number_is_scored_again(self, tmp_path, cache, value):
        [path] = pictures(tmp_path, (40, 40))
        [first] = score_files([path], [Brightness()], cache)
        with sqlite3.connect(cache.path) as database:
            database.execute("UPDATE scores_2 SET score = ?", (value,))
        scorer = Brightness()
        [again] = score_files([path], [scorer], cache)
        assert again == first == FileScores(path, first.content, {"brightness": pytest.approx(60 / 255)})
        assert scorer.batches == [1]
        assert cache.get(first.content, scorer.protocol) == first.scores["brightness"]

    def test_a_database_of_something_else_is_left_alone(self, tmp_path):
        path = tmp_path / "mail.sqlite"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE mail (text)")
        before = path.read_bytes()
        with pytest.raises(OSError, match=r"score cache \(it is a database of something else, with mail\)"):
            ScoreCache(path)
        assert path.read_bytes() == before

    def test_a_place_that_cannot_be_is_one_line(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="does not open as a score cache .*; name another file"):
            ScoreCache(tmp_path / "file" / "scores.sqlite")
