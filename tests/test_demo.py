"""What is behind the page of `iqp demo`: what can be chosen, what happens to a photo, what is shown. No gradio."""

from __future__ import annotations

import base64
import json
import re
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_runs import NOBODY
from photo_standins import BOX, FACE, LANDMARKS, Brightness, Dial, Echo, Faithful, Negative, Plain, embed, photo
from PIL import Image
from tiny_hosts import TINY_HOSTS
from torch import Tensor
from typer.testing import CliRunner

from iqp_adapter import demo, wrap
from iqp_adapter.cli import app
from iqp_adapter.compat import make_importable
from iqp_adapter.demo import markup, visit
from iqp_adapter.demo.shelf import NO_ADAPTER, Loaded, Shelf, on_disk
from iqp_adapter.demo.visit import Asked, Seen, Visits, restored
from iqp_adapter.hosts.registry import published
from iqp_adapter.photo import Faces, GivenFaces
from iqp_adapter.photo.outcomes import FaceReport, Outcome
from iqp_adapter.restorer import Restorer


def checkpoint(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").touch()
    return folder


def loaded(network: Restorer, **measures: Any) -> Loaded:
    return Loaded(network, **{"scorers": [], "embedder": None, "takes_adapter": False, **measures})


def faces_at(*boxes: tuple[float, ...]) -> Faces:
    return GivenFaces(boxes=np.array(boxes))(photo())


@pytest.fixture
def seen() -> Seen:
    return Seen(photo(), FACE(photo()))


class Counting:
    """A detector that counts its looks."""

    looks = 0

    def __call__(self, rgb: np.ndarray) -> Faces:
        self.looks += 1
        return FACE(rgb)


# -- what can be chosen


def test_what_ships_can_be_chosen() -> None:
    assert on_disk().models["tiny"] == "tiny" and not on_disk().adapters


def test_a_folder_adds_models_and_adapters_and_nothing_else(tmp_path: Path) -> None:
    adapter = checkpoint(tmp_path / "run" / "adapter", kind="adapter")
    retrained = checkpoint(tmp_path / "retrained", kind="retrained")
    models = [checkpoint(tmp_path / "native", model={}), checkpoint(tmp_path / "theirs", iqpir={})]
    models += [checkpoint(tmp_path / "fast", kind="engine"), tmp_path / "run" / "host.pth"]
    models[-1].touch()
    checkpoint(tmp_path / "scorer", scorer="iqp-lite")
    (tmp_path / "run" / "state.pt").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    shelf, own = on_disk(tmp_path), on_disk()
    assert shelf.adapters == {"run/adapter": str(adapter), "retrained": str(retrained)}
    assert shelf.models == own.models | {path.relative_to(tmp_path).as_posix(): str(path) for path in models}


def test_a_fetched_weight_file_can_be_chosen_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IQP_WEIGHTS", str(tmp_path))
    assert "swinir-face" not in on_disk().models
    (tmp_path / published()["swinir-face"].filename).touch()
    monkeypatch.setattr("iqp_adapter.demo.shelf.builder", lambda spec: "spandrel")
    assert on_disk().models["swinir-face"] == "swinir-face"
    monkeypatch.setattr("iqp_adapter.demo.shelf.builder", lambda spec: None)  # its class is not here
    assert "swinir-face" not in on_disk().models


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="^no folder .*runs to look for models in; name one that is there$"):
        on_disk(tmp_path / "runs")


def test_names_that_are_not_on_the_page_are_refused() -> None:
    """Whoever calls the page by a program may send any."""
    shelf = Shelf({"echo": Echo()}, {"mine": "mine"})
    with pytest.raises(ValueError, match="^no model '/etc/passwd' on this page; there are: echo$"):
        shelf.take("/etc/passwd")
    with pytest.raises(ValueError, match="^no adapter 'x/y' on this page; there are: mine$"):
        shelf.take("echo", "x/y")


def test_a_model_that_others_use_gets_no_adapter() -> None:
    shelf = Shelf({"echo": Echo()}, {"mine": "mine"})
    assert not shelf.take("echo", NO_ADAPTER).takes_adapter
    with pytest.raises(ValueError, match="^Echo was loaded as it is, and takes no adapter here$"):
        shelf.take("echo", "mine")


def test_the_next_visitor_gets_the_model_that_is_loaded() -> None:
    shelf = on_disk(device="cpu")
    first = shelf.take("tiny")
    assert shelf.take("tiny") is first and first.network.resolution
    assert [scorer.metric for scorer in first.scorers] == [first.network.conditioned_on[0], "piqe"]


def test_a_host_and_its_adapter_are_loaded_from_the_disk(tmp_path: Path) -> None:
    make_importable()
    pytest.importorskip("gfpgan")
    host = TINY_HOSTS["restoreformer-gfpgan"].build()
    torch.save({"params_ema": host.state_dict()}, tmp_path / "RestoreFormer.pth")
    wrapped = wrap(host)
    for block in wrapped.adapters["default"].blocks.values():
        torch.nn.init.ones_(block.gate)
    wrapped.save_pretrained(tmp_path / "mine")
    shelf = on_disk(tmp_path, device="cpu")
    bare, adapted = shelf.take("RestoreFormer.pth"), shelf.take("RestoreFormer.pth", "mine")
    assert bare.takes_adapter and not bare.network.takes_quality and adapted.network.takes_quality
    with pytest.raises((ValueError, TypeError)):
        shelf.take("tiny", "mine")


# -- what happens to a photo


def write(path: Path, pixels: np.ndarray | None = None, **options: Any) -> Path:
    Image.fromarray(photo() if pixels is None else pixels).save(path, **options)
    return path


def test_faces_are_found_once_and_restored_as_often_as_the_dial_moves(tmp_path: Path) -> None:
    detector, model = Counting(), Dial()
    seen = Visits(detector).look(write(tmp_path / "a.png"))
    soft, sharp = (restored(seen, loaded(model), Asked(quality)) for quality in (0.1, 0.9))
    assert detector.looks == 1 and [asked["quality"] for asked in model.asked] == [0.1, 0.9]
    assert soft.changed and not np.array_equal(soft.pixels, sharp.pixels)
    assert [face.box for face in soft.faces] == [list(BOX)]
    assert np.array_equal(seen.pixels, photo())


def test_of_a_crowd_the_largest_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "FACES", 2)
    boxes = [(100.0, 60.0, 120.0, 80.0), (180.0, 60.0, 270.0, 170.0), (300.0, 60.0, 330.0, 90.0)]
    seen = Visits(lambda rgb: faces_at(*boxes)).look(write(tmp_path / "a.png"))
    found = restored(seen, loaded(Echo()), Asked(0.5))
    assert [face.box for face in found.faces] == [list(box) for box in boxes[1:]] and seen.left_out == 1
    assert "The 2 faces that are the largest of 3: 2 restored, in " in markup.summary(found, seen.left_out)


def test_the_example_is_looked_at_once_for_all_visitors() -> None:
    visits = Visits(detector := Counting())
    assert visits.example() is visits.example() and detector.looks == 1


def test_a_model_is_asked_for_what_it_has_alone(seen: Seen) -> None:
    asked = Asked(0.3, 0.7)
    models = [Echo(), Faithful(), Plain()]
    for model in models:
        restored(seen, loaded(model), asked)
    assert [(each["quality"], each["fidelity"]) for model in models for each in model.asked] == [
        (0.3, None),
        (0.3, 0.7),
        (None, None),
    ]


def test_sharp_faces_are_restored_by_force_alone(seen: Seen) -> None:
    model = Negative(resolution=64)
    found = restored(seen, loaded(model), Asked(0.5))
    [left], shown = found.faces, markup.faces(found, [])
    assert f"Left alone: it has more detail than the model gives. “{markup.SHARP}”" in shown
    [done] = restored(seen, loaded(model), Asked(0.5, force=True)).faces
    assert (left.outcome, done.outcome) == (Outcome.LARGE, Outcome.RESTORED)


def test_scores_and_identity_are_measured(seen: Seen) -> None:
    [face] = restored(seen, loaded(Echo(), scorers=[Brightness()], embedder=embed), Asked(0.5)).faces
    assert face.scores["brightness"].keys() == {"before", "after"} and face.identity == pytest.approx(1)


@pytest.mark.parametrize("name", ["broken.png", "moving.gif", "text.jpg"])
def test_a_file_that_is_no_single_picture_is_told_in_one_line_without_its_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    still = Image.fromarray(photo()[:64, :64])
    if name == "moving.gif":
        still.save(path, save_all=True, append_images=[still.rotate(90)])
    else:
        path.write_bytes(write(tmp_path / "whole.png").read_bytes()[:5000] if name == "broken.png" else b"hello")
    with pytest.raises(OSError, match=f"^{name}: ") as error:
        Visits(FACE).look(path)
    assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)


def test_a_photo_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit, "MEGAPIXELS", 1)
    monkeypatch.setattr(visit, "read_pixels", lambda file: pytest.fail("was read"))
    with pytest.raises(ValueError, match="^a.png: 2 megapixels, at most 1 here; scale it down"):
        Visits(FACE).look(write(tmp_path / "a.png", np.tile(photo(), (2, 4, 1))))


# -- what is shown


def pictures(shown: str) -> list[np.ndarray]:
    found = re.findall('src="data:image/jpeg;base64,([^"]+)"', shown)
    return [np.asarray(Image.open(BytesIO(base64.b64decode(each)))) for each in found]


def test_a_line_is_one_line_and_obeys_no_markup() -> None:
    assert markup.line("<b>a</b>\n b", is_error=True) == '<p class="error" role="alert">&lt;b&gt;a&lt;/b&gt; b</p>'
    assert 'role="status"' in markup.line("a")


def test_the_slider_holds_the_photo_before_and_after(seen: Seen) -> None:
    found = restored(seen, loaded(Negative()), Asked(0.5))
    after, before = pictures(markup.compare(found))
    assert np.abs(before - photo().astype(float)).mean() < 4 < np.abs(after - before.astype(float)).max()
    assert np.abs(after - found.pixels.astype(float)).mean() < 4


def test_a_frame_lies_where_the_face_is(seen: Seen) -> None:
    found = restored(seen, loaded(Echo()), Asked(0.5))
    left, top, right, bottom = BOX / 512
    place = f"left: {left:.2%}; top: {top:.2%}; width: {right - left:.2%}; height: {bottom - top:.2%}"
    assert place in markup.compare(found)


def test_a_big_photo_is_shown_scaled() -> None:
    big = np.tile(photo(), (3, 5, 1))
    found = restored(Seen(big, NOBODY(big)), loaded(Echo()), Asked(0.5))
    assert {shown.shape for shown in pictures(markup.compare(found))} == {(768, 1280, 3)}
    assert found.pixels.shape == big.shape


def test_what_was_done_is_one_line(seen: Seen) -> None:
    def said(seen: Seen, model: Restorer) -> str:
        return re.sub("<.*?>", "", markup.summary(restored(seen, loaded(model), Asked(0.5))))

    nobody = Seen(photo(), NOBODY(photo()))
    assert re.fullmatch(r"1 face found, 1 restored, in [\d.]+ seconds\.", said(seen, Echo()))
    assert said(nobody, Echo()) == "No face was found in this photo, so nothing was changed."


class Failing(Echo):
    def restore(self, lq: Tensor, **asked: Any) -> Tensor:
        return torch.full_like(lq, torch.nan)


def test_a_face_that_fails_is_an_error_on_the_page(seen: Seen) -> None:
    shown = markup.summary(restored(seen, loaded(Failing()), Asked(0.5)))
    assert "alert" in shown and "face 0: the model gave no numbers" in shown


def test_faces_are_shown_close_up_with_their_scores(seen: Seen) -> None:
    class Darkness(Brightness):
        metric, lower_better = "darkness", True

    scorers = [Brightness(), Darkness()]
    found = restored(seen, loaded(Negative(), scorers=scorers, embedder=embed), Asked(0.5))
    shown = markup.faces(found, scorers)
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', shown)
    assert [name for name, *_ in rows] == ["brightness ↑", "darkness ↓", "identity"]
    assert float(rows[0][1]) == pytest.approx(found.faces[0].scores["brightness"]["before"], abs=0.1)
    assert rows[0][1] != rows[0][2] and rows[2][1:] == ("", f"{found.faces[0].identity:.2f}")
    before, after = pictures(shown)
    assert before.shape == after.shape == (168, 168, 3)  # 1.5 times the box's height
    assert np.abs(before - photo()[36:204, 141:309].astype(float)).mean() < 4


def test_a_face_that_is_left_alone_says_why() -> None:
    face = FaceReport(0, [10, 10, 60, 60], 60.0, outcome=Outcome.SMALL, skipped="<5 px", note="a & b")
    found = restored(Seen(photo(), NOBODY(photo())), loaded(Echo()), Asked(0.5))
    found.faces = [face]
    assert "<p>Left alone: &lt;5 px.</p><p>a &amp; b</p>" in markup.faces(found, [])


def test_of_a_crowd_the_largest_faces_are_shown() -> None:
    boxes = [(60.0 * i, 200.0, 60.0 * i + 20 + i, 240.0 + i) for i in range(8)]
    found = restored(Seen(photo(), faces_at(*boxes)), loaded(Echo()), Asked(0.5))
    shown = markup.faces(found, [])
    assert re.findall("<h3>(.*?)</h3>", shown) == [f"Face {number}" for number in range(3, 9)]
    assert "And 2 more, which are smaller." in shown


@pytest.mark.parametrize("box", [(-20, -10, 30, 40), (480, 490, 530, 560), (0, 0, 512, 512)])
def test_a_close_up_stays_inside_the_photo(box: tuple[float, ...]) -> None:
    part = markup.close_up(photo(), FaceReport(0, list(box), 50.0))
    assert 0 < part.shape[0] <= 512 and 0 < part.shape[1] <= 512


def test_no_faces_show_nothing() -> None:
    found = restored(Seen(photo(), GivenFaces(np.zeros((0, *LANDMARKS.shape)))(photo())), loaded(Echo()), Asked(0.5))
    assert markup.faces(found, []) == ""


# -- the command


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    assert re.fullmatch(r"iqp: the page needs gradio \(.*\); pip install iqp_adapter\[demo\]\n", result.output)


def test_the_command_serves_the_page_that_its_options_describe(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(demo, "page", lambda *given, **options: called.append((given, options)) or "the page")
    monkeypatch.setattr(demo, "serve", lambda *given: called.append(given))
    words = "--model a.pth --adapter b --folder c --port 7999 --share --device cpu"
    assert CliRunner().invoke(app, ["demo", *words.split()]).exit_code == 0
    assert called == [(("a.pth", "b"), {"folder": Path("c"), "device": "cpu"}), ("the page", 7999, True)]
