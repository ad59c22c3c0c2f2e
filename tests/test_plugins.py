"""Hosts of other packages: a bad one is named and left out, and takes nobody's place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iqp_adapter.hosts.registry import hosts, published

HEAD = """
from iqp_adapter import HostSpec, Site
from iqp_adapter.store.fetch import WeightFile

def sites(host):
    return [Site("0", 4, "BLC")]

def restore(host, lq):
    return host(lq)

def resolution(host):
    return None

def spec(**changes):
    given = dict(name="theirs", source="s", licence="MIT", has=("their.key",), sites=sites, restore=restore,
                 resolution=resolution)
    return HostSpec(**(given | changes))

"""
GOOD = HEAD + "HOST = spec()\n"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package with one host onto the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def put(name: str, code: str, entries: str = "[iqp_adapter.hosts]\ntheirs = {}_module:HOST\n") -> None:
        (tmp_path / f"{name}_module.py").write_text(code)
        package = tmp_path / f"{name}-1.0.dist-info"
        package.mkdir()
        (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (package / "entry_points.txt").write_bytes(entries.format(name).encode("latin-1"))
        hosts.cache_clear()

    yield put
    hosts.cache_clear()
    for module in set(sys.modules) - before:
        if module.endswith("_module"):
            del sys.modules[module]


BAD = {
    "raises": ("raise RuntimeError('no\\nGPU')", "RuntimeError: no GPU"),
    "leaves": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "own exception": ("class Odd(BaseException): pass\nraise Odd", "Odd:"),
    "missing import": ("import not_installed_at_all", "No module named 'not_installed_at_all'"),
    "syntax": ("def", "SyntaxError: "),
    "recursion": ("def f(): f()\nf()", "RecursionError: "),
    "no such name": ("", "has no attribute 'HOST'"),
    "a class": ("HOST = HostSpec", "it is a type, expected a HostSpec"),
    "nothing": ("HOST = None", "it is a NoneType"),
    "taken name": ("HOST = spec(name='codeformer')", "the name 'codeformer' is taken"),
    "no name": ("HOST = spec(name=None)", "its name is not a word"),
    "name of lines": ("HOST = spec(name='a\\nb')", "its name is not a word"),
    "name that cannot be compared": ("HOST = spec(name=[1])", "its name is not a word"),
    "has nothing": ("HOST = spec(has=())", "its has cannot be ()"),
    "has everything": ("HOST = spec(has=('',))", "its has cannot be ('',)"),
    "has a text": ("HOST = spec(has='their.key')", "its has cannot be 'their.key'"),
    "lacks a number": ("HOST = spec(lacks=(1,))", "its lacks cannot be (1,)"),
    "no licence": ("HOST = spec(licence=None)", "its licence cannot be None"),
    "no function": ("HOST = spec(sites=[1], build=2)", "its sites, build cannot be [1]"),
    "prefix": ("HOST = spec(prefix=None)", "its prefix cannot be None"),
    "weights": ("HOST = spec(weights=[1])", "its weights cannot be [1]"),
    "no weight file": ("HOST = spec(weights={'theirs': 'https://x'})", "'theirs' has no name, address or licence"),
    "path as file": (
        "HOST = spec(weights={'theirs': WeightFile('https://x/..', 'MIT')})", "'theirs' has no name, address or licence"
    ),
    "weights of another": (
        "HOST = spec(weights={'codeformer': WeightFile('https://x/y.pth', 'MIT')})", "'codeformer' (y.pth) is taken"
    ),
    "too few fields": ("HOST = HostSpec(name='x')", "TypeError: "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_host_is_left_out_and_named(install, caplog, name):
    before, files = hosts(), published()
    code, words = BAD[name]
    install("bad_one", HEAD + code)
    install("good_one", GOOD)
    now = hosts()
    assert {key: now[key] for key in before} == before and {key: published()[key] for key in files} == files
    assert now.keys() - before.keys() == {"theirs"}
    [record] = caplog.records
    line = record.getMessage()
    assert line.startswith("the host 'theirs' of the package bad_one is left out (") and words in line
    assert line.endswith("); mend or uninstall the package") and "\n" not in line and len(line) < 700


def test_the_second_of_two_of_one_name_is_left_out(install, caplog):
    install("a_one", GOOD)
    install("b_one", GOOD)
    assert "theirs" in hosts()
    assert "of the package" in caplog.text and "the name 'theirs' is taken" in caplog.text


@pytest.mark.parametrize(
    "entries", ["[iqp_adapter.hosts]\ntheirs = \xe4\n", "[iqp_adapter.hosts]\ntheirs\n", "theirs = x"]
)
def test_entry_points_that_cannot_be_read_break_nothing(install, entries, caplog):
    install("bad_one", GOOD, entries)
    install("good_one", GOOD)
    assert "theirs" in hosts() and "codeformer" in hosts()


def test_an_interrupt_is_no_fault_of_the_package(install):
    install("slow_one", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        hosts()
