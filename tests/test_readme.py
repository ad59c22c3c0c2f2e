"""What the READMEs show is true: their Python runs, their links lead somewhere, the first one is short."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {
    place: (ROOT / place / "README.md").read_text(encoding="utf-8")
    for place in (".", "adapters", "examples", "benchmarks", "benchmarks/hosts")
}
README = PAGES["."]
BLOCKS = [
    block for page in PAGES.values() for block in re.findall(r"^ *```python\n(.*?)```", page, re.DOTALL | re.MULTILINE)
]
LINKS = {(place, target) for place, page in PAGES.items() for target in re.findall(r"\]\((?!http)([^)#]+)", page)}


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(dedent(block), "README.md", "exec"), {})


@pytest.mark.parametrize(("place", "target"), sorted(LINKS))
def test_links_lead_somewhere(place, target):
    assert (ROOT / place / target).exists()


@pytest.mark.parametrize("part", sorted({part for page in PAGES.values() for part in re.findall(r"#([\w-]+)\)", page)}))
def test_links_into_a_page_name_a_heading(part):
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).strip().lower().replace(" ", "-")
        for page in PAGES.values()
        for line in page.splitlines()
        if line.startswith("#")
    }
    assert part in headings


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:examples|benchmarks)/[\w/.]+\.(?:py|yaml)", README))))
def test_files_named_in_commands_exist(path):
    assert (ROOT / path).exists()


def test_the_first_page_can_be_read_in_one_go():
    assert len(README.splitlines()) <= 200
