"""Restored faces of a film do not flicker, and are sharper than they were: the clip of the benchmark, cut short."""

from __future__ import annotations

import pytest

from benchmarks.film import aligned, as_film, frame_by_frame, kept, markdown, measured, write_clip

pytestmark = pytest.mark.slow


def test_a_restored_face_is_steady_and_sharper(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    source, film, singly = tmp_path / "a.mp4", tmp_path / "film.mp4", tmp_path / "singly.nut"
    write_clip(source, 30)
    as_film(source, film, "tiny", 1)
    frame_by_frame(source, singly, "tiny", 1)
    assert all(kept(source, film).values())
    paths = {"input": source, "frame by frame": singly, "film": film}
    ways = {way: measured(aligned(path, 30)) for way, path in paths.items()}
    for name in ("deviation", "change"):
        assert ways["film"][name] <= 0.5 * ways["frame by frame"][name]
        assert ways["film"][name] <= 1.1 * ways["input"][name]
    assert ways["film"]["iqp-judge"] > ways["input"]["iqp-judge"]
    for name in ("niqe", "piqe"):
        assert ways["film"][name] < ways["input"][name]
    cost = {"seconds": 1.0, "peak MiB": 1.0}
    found = {"frames": 30, "threads": 1, "ways": ways, "kept": {"sound": True}, "quarter peak MiB": 1.0}
    assert "| deviation |" in markdown(found | {"time": {"frame by frame": cost, "film": cost}})
