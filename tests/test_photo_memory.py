"""The benchmark of memory: what was measured is kept, and what is missing is measured."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from benchmarks import photo_memory


def test_only_missing_counts_are_measured_and_all_are_shown(tmp_path, monkeypatch):
    asked = []

    def measure(command, count, size, threads):
        asked.append((count, size))
        return {"peak_MiB": 700.0 + count, "seconds": 1.0}

    monkeypatch.setattr(photo_memory, "measure", measure)
    photo_memory.main(["restore"], [10], 1, tmp_path)
    photo_memory.main(["restore"], [100, 10], 1, tmp_path)
    assert asked == [(10, (320, 320)), (100, (320, 320))]
    assert set(json.loads((tmp_path / "photo_memory.json").read_text())["series"]["restore"]) == {"10", "100"}
    assert "| restore | 710 | 800 |" in (tmp_path / "photo_memory.md").read_text()
    assert Image.open(tmp_path / "photo_memory.png").width == 850


def test_the_peak_is_that_of_the_whole_command(tmp_path):
    photo_memory.write_photos(tmp_path, 1, (96, 96))
    found = photo_memory.peak_of(photo_memory.score("piqe", tmp_path, tmp_path), 1)
    assert found["peak_MiB"] > 100 and (tmp_path / "scores.csv").exists()


def test_a_command_that_fails_is_no_measurement(tmp_path):
    with pytest.raises(RuntimeError, match="ended with 2"):
        photo_memory.peak_of(["score", str(tmp_path / "nowhere")], 1)
