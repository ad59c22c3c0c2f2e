"""The benchmark's page: one file that needs nothing else, says what the report says, and works in a browser."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iqp_adapter.bench.intervals import Interval
from iqp_adapter.bench.page import write_page
from iqp_adapter.bench.page.album import order
from iqp_adapter.bench.report import Column, Method, Picture, Report, differences, summary

EVIL = "</script><img src=x onerror=alert(1)>'\"&<!--"
PICTURES = 6
PSNR, NIQE, FID, MUSIQ = "psnr/rgb@native", "niqe/basicsr@native", "fid/vqfr", "musiq/koniq@native"
COLUMNS = [
    Column(NIQE, "NIQE", True, trained_on="it is what was optimised", optimised=True),
    Column(PSNR, "PSNR", False),
    Column(FID, "FID", True),
    Column(MUSIQ, "MUSIQ", False, skipped=f"its weights are not there {EVIL}"),
]
WORST = 3
"""The picture on which the adapter's PSNR is lowest."""


def a_report(folder: Path) -> Report:
    """Three methods on six pieces of a photo that scikit-image ships, with made-up numbers."""
    names = ["bare host", "adapter", EVIL]
    pictures = [Picture(f"face_{i}.png" if i else EVIL, f"person {i // 2}", "AB"[i // 4]) for i in range(PICTURES)]
    psnr = np.array([26.0, 27, 25, 24, 28, 26.5])
    values: dict[str, dict[str, list[float | None]]] = {
        name: {PSNR: list(psnr - 2 * gain), NIQE: list(5 - gain - psnr / 100)}
        for name, gain in zip(names, (0, 1.0, -0.5), strict=True)
    }
    values["adapter"][NIQE][1] = None
    dial = [
        {"quality": q, "means": {c: Interval(v + q, v + q - 0.5, v + q + 0.5) for c, v in ((PSNR, 25.0), (NIQE, 4.0))}}
        for q in (0.0, 0.5, 1.0)
    ]
    score = {
        "score": 1.2,
        "terms": {"musiq": 0.7, "niqe": 0.5},
        "not run": ["qalign"],
        "gate": {"valid": False, "below": 11, "allowed": 10},
    }
    return Report(
        title=f"Page {EVIL}",
        columns=COLUMNS,
        methods=[Method(name, "model", None, {"N": PICTURES, EVIL: EVIL}) for name in names],
        pictures=pictures,
        values=values,
        set_values={name: {FID: 50.0 + place} for place, name in enumerate(names)},
        baseline="bare host",
        dial={"model": dial},
        companions={NIQE: {"held out": [PSNR, MUSIQ], "under identity threshold": {"adapter": 2}, "threshold": 0.6}},
        scores={"ntire2026": {name: score for name in names}},
        images={role: some_pictures(folder, role, names.index(role)) for role in names},
        environment={"seed": 0, "command": EVIL, "versions": {"torch": "2"}, "path": Path("a/b"), "bad": math.nan},
    )


def some_pictures(folder: Path, role: str, place: int) -> list[str]:
    from skimage import data

    photo = Image.fromarray(data.astronaut())
    names = [f"{place}_{i}.png" for i in range(PICTURES)]
    for i, name in enumerate(names):
        photo.crop((40 * i, 10 * place, 40 * i + 200, 10 * place + 200)).save(folder / name)
    return names


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def report(folder) -> Report:
    return a_report(folder)


@pytest.fixture(scope="module")
def page(report, folder) -> Path:
    write_page(report, folder / "page.html")
    return folder / "page.html"


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text inside scripts and styles, as a browser cuts them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.inside.append((self.tags[-1][1], data))

    def content(self, name: str) -> Any:
        return json.loads("".join(text for attributes, text in self.inside if attributes.get("id") == name))


def content(path: Path) -> Any:
    return Tags(path.read_text(encoding="utf-8")).content("report")


def pictures_in(path: Path) -> list[str]:
    return Tags(path.read_text(encoding="utf-8")).content("album")


def test_nothing_is_asked_from_elsewhere(page):
    parsed = Tags(page.read_text(encoding="utf-8"))
    addresses = [value for _, attributes in parsed.tags for key, value in attributes.items() if key in {"src", "href"}]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    code = "".join(text for attributes, text in parsed.inside if "id" not in attributes)
    assert re.findall(r"https?://[^\"]*", code) == ["http://www.w3.org/2000/svg"]  # the name of SVG, which is not asked
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML|outerHTML|insertAdjacentHTML", code)


def test_a_browser_would_run_nothing_but_our_script_and_style(page):
    parsed = Tags(page.read_text(encoding="utf-8"))
    [policy] = [a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"]
    code = [text for attributes, text in parsed.inside if "id" not in attributes]
    hashes = [f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}" for text in code]
    assert "default-src 'none'" in policy and len(hashes) == 2
    assert f"style-src '{hashes[0]}'" in policy and f"script-src '{hashes[1]}'" in policy


def test_strings_stay_strings(page, report):
    text = page.read_text(encoding="utf-8")
    parsed = Tags(text)
    assert not any("<" in inside or ">" in inside for attributes, inside in parsed.inside if "id" in attributes)
    assert EVIL not in text and "onerror=alert(1)>" not in text
    assert [tag for tag, _ in parsed.tags].count("script") == 3
    assert not any(tag == "img" for tag, _ in parsed.tags)
    assert content(page)["title"] == report.title and content(page)["pictures"][0]["name"] == EVIL


def test_a_name_that_is_no_unicode_can_be_written(report, folder):
    write_page(replace(report, title="odd \udcff name", images={}), folder / "odd.html")
    assert content(folder / "odd.html")["title"] == "odd \udcff name"


def test_the_numbers_are_the_report_s(page, report):
    inside = content(page)
    assert inside["values"]["adapter"][NIQE][1] is None
    assert inside["values"]["adapter"][PSNR] == report.values["adapter"][PSNR]
    assert inside["set_values"] == report.set_values and inside["companions"] == report.companions
    assert inside["scores"] == report.scores and inside["dial"]["model"][1]["means"][PSNR] == [25.5, 25.0, 26.0]
    assert inside["columns"][3]["skipped"] == COLUMNS[3].skipped
    assert inside["environment"]["bad"] is None and inside["environment"]["path"] == str(Path("a/b"))
    means, changes = summary(report)["adapter"][PSNR], differences(report)["adapter"][PSNR]
    assert inside["parts"][""]["summary"]["adapter"][PSNR] == pytest.approx(means, rel=1e-5)
    assert inside["parts"][""]["differences"]["adapter"][PSNR] == pytest.approx(changes, rel=1e-5)


def test_every_test_set_has_its_own_intervals(page, report):
    parts = content(page)["parts"]
    assert {name: part["pictures"] for name, part in parts.items()} == {"": 6, "A": 4, "B": 2}
    mean, low, high = parts["A"]["summary"]["bare host"][PSNR]
    assert low < mean < high and mean == pytest.approx(np.mean(report.values["bare host"][PSNR][:4]))
    assert parts["B"]["summary"]["bare host"][PSNR] == [27.25, None, None]  # one person: a mean, but no interval


def test_pictures_are_inside_and_where_they_belong(page, report):
    shown, album = content(page)["images"], pictures_in(page)
    assert len(album) == 3 * PICTURES and content(page)["album"]["kept"] == PICTURES
    for role, names in report.images.items():
        for index, name in enumerate(names):
            with Image.open(page.parent / name) as original:
                expected = np.asarray(original, dtype=float)
            assert np.abs(pixels(album[shown[role][index]]) - expected).mean() < 6


def pixels(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert re.fullmatch(r"data:image/(webp|jpeg);base64", head)
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))), dtype=float)


def test_large_pictures_are_reduced(report, folder):
    Image.new("RGB", (1400, 700), "teal").save(folder / "large.png")
    images = {"adapter": ["large.png"] + [""] * (PICTURES - 1)}
    write_page(replace(report, images=images), folder / "large.html")
    assert [pixels(uri).shape for uri in pictures_in(folder / "large.html")] == [(256, 512, 3)]


def test_the_budget_holds_and_what_is_left_out_is_said(report, folder):
    everything = sum(map(len, pictures_in_page_of(report, folder, 10**9)))
    write_page(report, folder / "small.html", budget=everything // 2)
    inside, album = content(folder / "small.html"), pictures_in(folder / "small.html")
    assert 0 < sum(map(len, album)) <= everything // 2
    complete = [i for i in range(PICTURES) if all(places[i] is not None for places in inside["images"].values())]
    assert inside["album"]["kept"] == len(complete) == len(album) // 3
    assert complete == sorted(order(report)[: len(complete)])


def pictures_in_page_of(report: Report, folder: Path, budget: int) -> list[str]:
    write_page(report, folder / "budget.html", budget)
    return pictures_in(folder / "budget.html")


def test_no_budget_no_pictures(report, folder):
    assert pictures_in_page_of(report, folder, 0) == []


def test_room_goes_to_a_draw_and_to_the_worst_cases(report):
    many = 400
    values = {name: {PSNR: [float(i != 250) for i in range(many)]} for name in ("bare host", "adapter")}
    pictures = [Picture(str(i), str(i), "") for i in range(many)]
    long = replace(report, pictures=pictures, values=values)
    assert sorted(order(long)) == list(range(many))
    assert order(long) == order(long) and order(long)[1] == 250
    assert order(replace(long, values={}))[:3] == order(long)[:6:2]


def test_a_picture_that_cannot_be_read_is_named(report, folder, caplog):
    (folder / "broken.png").write_bytes(b"no picture")
    images = {"adapter": ["gone.png", "broken.png", *report.images["adapter"][2:]]}
    write_page(replace(report, images=images), folder / "broken.html")
    inside = content(folder / "broken.html")
    assert sorted(inside["album"]["unreadable"]) == ["broken.png", "gone.png"] and "gone.png" in caplog.text
    assert inside["images"]["adapter"][:2] == [None, None] and inside["images"]["adapter"][2] is not None


def test_a_failure_leaves_the_old_page(page, report, folder, monkeypatch):
    before = page.read_bytes()
    monkeypatch.setattr("iqp_adapter.bench.page.html.differences", lambda report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_page(report, page)
    assert page.read_bytes() == before and not list(folder.glob(".page.*"))


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium on the path")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield running
        running.close()


@contextmanager
def opened(browser: Any, page: Path, width: int) -> Iterator[Any]:
    """The page in a window of that width; whatever the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 844}, has_touch=width < 500)
    complaints: list[str] = []
    view = context.new_page()
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("dialog", lambda dialog: complaints.append(dialog.message))
    view.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or complaints.append(asked.url))
    view.goto(page.as_uri())
    yield view
    assert not complaints
    context.close()


@pytest.fixture(params=[1280, 390])
def view(request, browser, page) -> Iterator[Any]:
    """The page on a desk and on a phone."""
    with opened(browser, page, request.param) as view:
        yield view


def rows(view: Any) -> list[str]:
    return [text.split("\n")[0] for text in view.locator("#results-table tbody th").all_inner_texts()]


def test_the_page_fits_its_window(view):
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.locator("main svg").count() > 4


def test_tables_sort(view):
    given, header = ["bare host", "adapter", EVIL], view.locator(f'#results-table [data-sort="{PSNR}"]')
    assert rows(view) == given
    for expected, state in (
        ([EVIL, "bare host", "adapter"], "descending"),
        (["adapter", "bare host", EVIL], "ascending"),
        (given, "none"),
    ):
        header.press("Enter")
        assert rows(view) == expected
        assert header.locator("xpath=..").get_attribute("aria-sort") == state


def test_what_the_table_shows_can_be_chosen(view):
    table = view.locator("#results-table")
    assert "26.08" in table.inner_text()  # the baseline's mean
    assert "2 faces beyond 0.6" in table.inner_text() and "▼" in table.inner_text()
    view.locator("#results-tools select").select_option("B")
    assert "27.25" in table.inner_text() and "no interval" in table.inner_text()
    assert not any("▲" in text for text in table.locator("td:not(.guard)").all_inner_texts())
    view.locator("#results-tools select").select_option("")
    view.get_by_role("radio", name="Differences").check()
    assert "−2.00" in table.inner_text() and "26.08" not in table.inner_text()
    view.locator("#results-tools summary").click()
    view.get_by_role("checkbox", name="PSNR").uncheck()
    assert "−2.00" not in table.inner_text()
    assert "its weights are not there" in view.locator("#not-run").inner_text()
    scores = view.locator("#scores").inner_text()
    assert "Not run: qalign" in scores and "2 of 3 terms" in scores and "11 faces below, 10 allowed" in scores


def test_the_slider_follows_keys_and_pointer(view):
    handle, stage = view.locator("#handle"), view.locator("#stage")
    handle.focus()
    handle.press("ArrowRight")
    assert handle.get_attribute("aria-valuenow") == "52"
    handle.press("Home")
    assert handle.get_attribute("aria-valuenow") == "0"
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    view.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    view.mouse.down()
    view.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 50)
    view.mouse.up()
    assert handle.get_attribute("aria-valuenow") == "75"
    view.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 50)
    assert handle.get_attribute("aria-valuenow") == "75"


def test_worst_first_and_pickers(view, report):
    shown = view.locator("#picture-name")
    assert shown.inner_text() == EVIL
    view.get_by_label("Order", exact=True).select_option(PSNR)
    assert shown.inner_text() == report.pictures[WORST].name
    view.get_by_role("radio", name="Best first").check()
    assert shown.inner_text() == report.pictures[4].name
    view.get_by_label("Right", exact=True).select_option("bare host")
    assert "28.00" in view.locator("#scores-here").inner_text()
    assert view.locator("#after img").evaluate("image => image.complete && image.naturalWidth") == 200
    view.locator("#next").click()
    assert "2 of 6" in view.locator("#at").inner_text()
    view.get_by_label("Name", exact=True).fill("face_1")
    assert shown.inner_text() == "face_1.png" and view.locator(".thumb").count() == 1


def test_a_report_of_little_shows_what_there_is(browser, report, folder):
    lone = {"bare host": {PSNR: report.values["bare host"][PSNR]}}
    bare = replace(report, methods=report.methods[:1], values=lone, set_values={}, dial={}, companions={}, scores={})
    write_page(replace(bare, images={}), folder / "little.html")
    with opened(browser, folder / "little.html", 390) as view:
        shown = [
            section.get_attribute("id") for section in view.locator("main > section").all() if section.is_visible()
        ]
        assert shown == ["results", "pictures", "provenance"]
        assert rows(view) == ["bare host"]
        view.get_by_label("Order", exact=True).select_option(PSNR)
        assert view.locator("#picture-name").inner_text() == report.pictures[WORST].name


def test_the_worst_are_those_of_the_method_and_direction_asked_for(view, report):
    view.get_by_label("Order", exact=True).select_option(f"change {NIQE}")
    view.get_by_label("of method", exact=True).select_option("adapter")
    changes = [text.split("\n")[-1] for text in view.locator(".thumb").all_inner_texts()]
    assert changes == ["−1.000"] * 5 + ["–"]
    view.get_by_label("Order", exact=True).select_option(NIQE)
    values = [float(text.split("\n")[-1]) for text in view.locator(".thumb").all_inner_texts()[:5]]
    assert values == sorted(values, reverse=True)
