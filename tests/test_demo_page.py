"""The page of `iqp demo`: its controls by gradio, and the whole of it in a headless Chromium."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_standins import FACE, Dial, Faithful, Plain, photo
from PIL import Image
from tiny_hosts import TINY_HOSTS

import iqp_adapter as iqp
from iqp_adapter.demo import app, page, serve
from iqp_adapter.demo.shelf import NO_ADAPTER, Shelf
from iqp_adapter.demo.visit import Visits
from iqp_adapter.photo.demo import degraded_astronaut

gradio = pytest.importorskip("gradio")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SETTINGS = ("dial", NO_ADAPTER, 0.5, 0.0, False)
"""Model, adapter, quality, fidelity, force."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page with three models that take no time."""
    monkeypatch.setattr(app, "Visits", lambda: Visits(FACE))
    shelf = Shelf({"dial": Dial(), "faithful": Faithful(), "plain": Plain()}, {"mine": "mine"})
    with gradio.Blocks() as blocks:
        made = app._Page(gradio, shelf, "dial", NO_ADAPTER)
        made.connect(blocks)
        made.blocks = blocks
    return made


def written(path: Path, pixels: np.ndarray | None = None) -> str:
    Image.fromarray(photo() if pixels is None else pixels).save(path)
    return str(path)


# -- what is answered


def test_a_photo_is_shown_and_its_file_is_gone(made: Any, tmp_path: Path) -> None:
    shown = made._show_photo(written(tmp_path / "a.png"), *SETTINGS)
    assert not list(tmp_path.iterdir())
    assert np.array_equal(shown[made.seen].pixels, photo()) and shown[made.upload] is None
    assert "1 face found, 1 restored" in shown[made.line] and "<figure" in shown[made.compare]
    assert "<h3>Face 1</h3>" in shown[made.faces]


def test_a_broken_file_is_one_line_all_else_stays_and_it_is_gone_too(made: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    shown = made._told(made._show_photo)(str(tmp_path / "a.png"), *SETTINGS)
    assert shown == {
        made.upload: None,
        made.line: '<p class="error" role="alert">a.png: not a picture that can be read</p>',
    }
    assert not list(tmp_path.iterdir())


def test_an_equal_file_that_another_visitor_had_read_is_asked_for_again(made: Any, tmp_path: Path) -> None:
    shown = made._told(made._show_photo)(str(tmp_path / "gone.png"), *SETTINGS)
    assert "Your photo did not arrive; please choose it again" in shown[made.line]


def test_visitors_share_no_photo(made: Any, tmp_path: Path) -> None:
    one, other = (
        made._show_photo(written(tmp_path / "a.png", pixels), *SETTINGS)[made.seen]
        for pixels in (photo(), np.ascontiguousarray(255 - photo()))
    )
    again = made._show_again(one, *SETTINGS)
    assert again[made.seen] is one and again[made.seen] is not other and np.array_equal(one.pixels, photo())


def test_a_photo_that_is_no_longer_kept_is_asked_for(made: Any) -> None:
    assert "no longer kept" in made._told(made._show_again)(None, *SETTINGS)[made.line]


def test_another_model_brings_its_dial_and_takes_no_adapter_along(made: Any) -> None:
    seen = made.visits.example()
    shown = made._change_model(seen, "faithful", "mine", *SETTINGS[2:])
    assert (shown[made.fidelity]["value"], shown[made.fidelity]["visible"]) == (0.25, True)
    assert shown[made.adapter]["value"] == NO_ADAPTER and not shown[made.adapter]["interactive"]
    assert shown[made.quality] == {"info": app.QUALITY, "interactive": True, "__type__": "update"}
    assert made.shelf.models["faithful"].asked[-1]["fidelity"] is None  # its own
    plain = made._change_model(seen, "plain", NO_ADAPTER, *SETTINGS[2:])
    assert plain[made.quality]["info"] == app.IDLE and not plain[made.quality]["interactive"]
    assert not plain[made.fidelity]["visible"]


def test_one_photo_is_restored_at_a_time_and_the_last_move_of_a_dial_counts(made: Any) -> None:
    events = list(made.blocks.fns.values())
    assert len(events) == 8
    assert {(event.concurrency_limit, event.concurrency_id) for event in events} == {(1, "restoring")}
    assert {(event.trigger_mode, event.api_visibility) for event in events} == {("always_last", "private")}


# -- the whole page


def components(blocks: Any) -> dict[str, Any]:
    return {each.elem_id: each for each in blocks.blocks.values() if getattr(each, "elem_id", None)}


def test_models_and_adapters_come_from_the_disk(tmp_path: Path) -> None:
    (tmp_path / "RestoreFormer.pth").touch()
    blocks = page("tiny", folder=tmp_path, device="cpu")
    shown = components(blocks)
    assert [name for name, _ in shown["model"].choices] == ["tiny", "RestoreFormer.pth"]
    assert not shown["adapter"].visible and shown["fidelity"].visible and shown["quality"].interactive
    assert not blocks.analytics_enabled and blocks.delete_cache == (60, 60)


@pytest.fixture
def codeformer() -> iqp.WrappedHost:
    """A small one of the real class, wrapped."""
    pytest.importorskip("spandrel_extra_arches")
    return iqp.wrap(TINY_HOSTS["codeformer-spandrel"].build())


def test_a_wrapped_codeformer_has_its_fidelity_and_licence(codeformer: iqp.WrappedHost) -> None:
    shown = components(page(codeformer))
    assert shown["model"].value == "codeformer" and shown["fidelity"].value == 0.5
    assert "S-Lab License 1.0 (non-commercial)" in shown["note"].value and shown["note"].visible
    assert shown["quality"].info == app.IDLE and not shown["quality"].interactive


def test_a_wrapped_codeformer_restores_at_the_fidelity_that_is_asked_for(codeformer: iqp.WrappedHost) -> None:
    with gradio.Blocks():
        made = app._Page(gradio, Shelf({"codeformer": codeformer}), "codeformer", NO_ADAPTER)
    settings = [("codeformer", NO_ADAPTER, 0.5, fidelity, True) for fidelity in (0.0, 1.0)]
    detail, likeness = (made._show(made.visits.example(), *each)[made.compare] for each in settings)
    assert detail != likeness


def test_nothing_is_sent_or_remembered_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(gradio.Blocks, "launch", lambda self, **settings: asked.update(settings))
    with gradio.Blocks() as blocks:
        serve(blocks, port=7999)
    assert (asked["server_port"], asked["share"]) == (7999, False)
    assert not any(asked[name] for name in ("run_history", "ssr_mode", "pwa", "mcp_server", "enable_monitoring"))
    assert asked["max_file_size"] and asked["state_session_capacity"] <= 64
    assert not asked["theme"]._stylesheets


# -- in a browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 90_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs Chromium")
    with driver.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=[*QUIET, "--disable-sync", "--no-first-run"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(uploads: Path) -> Iterator[str]:
    """The page, served as `iqp demo` does; it fails where it looks for any other machine."""
    outside: list[Any] = []
    look_up = socket.getaddrinfo

    def only_here(host: Any, *rest: Any, **options: Any) -> Any:
        outside.extend([host] if host not in ("127.0.0.1", "localhost", None) else [])
        return look_up(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        patch.setattr(socket, "getaddrinfo", only_here)
        blocks = page("tiny", device="cpu")
        _, found, _ = serve(blocks, prevent_thread_lock=True, quiet=True)
        yield found
        blocks.close()
    assert not outside


class Visitor:
    """Somebody with a browser of their own, who sees all that goes wrong in it."""

    def __init__(self, browser: Any, address: str, width: int = 1280) -> None:
        self.page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
        self.page.set_default_timeout(PATIENCE)
        self.wrong: list[str] = []
        self.page.on("console", lambda said: self.wrong.extend([said.text] if said.type == "error" else []))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda asked: self.wrong.extend(self._elsewhere(asked.url, address)))
        self.page.goto(address)
        self.page.wait_for_selector("#compare figure")

    def _elsewhere(self, url: str, address: str) -> list[str]:
        return [] if url.startswith((address, "data:", "blob:")) else [url]

    @property
    def said(self) -> str:
        return self.page.inner_text("#line p")

    def picture(self, when: str) -> str:
        return self.page.get_attribute(f"#compare .{when}", "src")

    def waits_until(self, changed: Callable[[], Any], act: Callable[[], Any]) -> None:
        before = changed()
        act()
        for _ in range(PATIENCE // 100):
            if changed() != before:
                return
            self.page.wait_for_timeout(100)
        pytest.fail(f"nothing changed; the page says {self.said!r}")

    def upload(self, path: Path) -> None:
        self.page.set_input_files("#upload input[type=file]", path)

    @property
    def fits(self) -> bool:
        """Whether nothing is scrolled sideways, nor cut off."""
        return self.page.evaluate(
            "[document.documentElement, document.querySelector('#line p')].every("
            "each => each.scrollWidth <= each.clientWidth && each.getBoundingClientRect().right <= innerWidth)"
        )


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Visitor]]:
    visitors: list[Visitor] = []

    def come(**how: Any) -> Visitor:
        visitors.append(Visitor(browser, address, **how))
        return visitors[-1]

    yield come
    wrong = [line for visitor in visitors for line in visitor.wrong]
    for visitor in visitors:
        visitor.page.context.close()
    assert not wrong


def mirrored(folder: Path, name: str = "mirrored.png") -> Path:
    return Path(written(folder / name, np.ascontiguousarray(degraded_astronaut()[:, ::-1])))


@pytest.mark.slow
def test_a_photo_is_restored_again_when_the_dial_moves(
    visit: Callable[..., Visitor], tmp_path: Path, uploads: Path
) -> None:
    visitor = visit()
    visitor.waits_until(lambda: visitor.picture("before"), lambda: visitor.upload(mirrored(tmp_path)))
    given, sharp = visitor.picture("before"), visitor.picture("after")
    assert given != sharp and "1 face found, 1 restored" in visitor.said
    visitor.page.focus("#quality input[type=range]")
    visitor.waits_until(lambda: visitor.picture("after"), lambda: visitor.page.keyboard.press("Home"))
    assert visitor.picture("before") == given and visitor.picture("after") != sharp
    assert not any(path.stat().st_size for path in uploads.rglob("*") if path.is_file())


@pytest.mark.slow
def test_before_and_after_are_compared_by_keyboard_and_by_mouse(visit: Callable[..., Visitor]) -> None:
    page = (visitor := visit()).page
    where = "document.querySelector('.edge').offsetLeft / document.querySelector('.compare').clientWidth"

    def edge() -> float:
        return page.evaluate(where)

    page.focus("#compare input[type=range]")
    page.keyboard.press("End")
    assert edge() > 0.98
    box = page.locator("#compare input[type=range]").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert abs(edge() - 0.25) < 0.03
    page.focus("#fidelity input[type=range]")
    visitor.waits_until(lambda: visitor.picture("after"), lambda: page.keyboard.press("Home"))
    assert abs(edge() - 0.25) < 0.03 and page.input_value("#compare input[type=range]") == "25"
    assert page.get_attribute("#compare .save", "href") == visitor.picture("after")
    page.uncheck("#compare .framed")
    assert not page.is_visible(".frame")


@pytest.mark.slow
def test_a_broken_file_is_a_line_and_the_photo_stays(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit(width=390)
    shown = visitor.picture("after")
    path = tmp_path / f"{'endless' * 20}.png"
    path.write_text("hello")
    visitor.waits_until(lambda: visitor.said, lambda: visitor.upload(path))
    assert visitor.said == f"{path.name}: not a picture that can be read"
    assert visitor.page.get_attribute("#line p", "role") == "alert" and visitor.fits
    assert visitor.picture("after") == shown


@pytest.mark.slow
def test_two_visitors_see_their_own_photos(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    one, other = visit(), visit()
    example = one.picture("before")
    other.waits_until(lambda: other.picture("before"), lambda: other.upload(mirrored(tmp_path)))
    one.page.focus("#quality input[type=range]")
    one.waits_until(lambda: one.picture("after"), lambda: one.page.keyboard.press("Home"))
    assert one.picture("before") == example != other.picture("before")
    assert other.page.input_value("#quality input[type=range]") == "0.95"


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_and_every_control_has_a_name_and_is_reached_by_tab(
    visit: Callable[..., Visitor], width: int
) -> None:
    page = (visitor := visit(width=width)).page
    page.click("#options button")
    page.wait_for_selector("#model input")
    assert visitor.fits
    page.focus("#upload button")
    named, reached = "el => el.ariaLabel || el.innerText.trim() || el.labels?.[0]?.innerText.trim() || ''", []
    for _ in range(13):
        reached.append(page.evaluate(f"({named})(document.activeElement)"))
        page.keyboard.press("Tab")
    wanted = ["upload", "example", "Percent", "Frame", "Save", "Quality", "Fidelity", "options", "Model", "sharp"]
    found = [next((at for at, name in enumerate(reached) if re.search(want, name)), None) for want in wanted]
    assert None not in found and found == sorted(found, key=int), reached
    assert all(reached)
