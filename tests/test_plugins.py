"""Hosts of other packages: a bad one is named and left out, and takes nobody's place."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from no_memory import MUCH

from iqp_adapter import wrap
from iqp_adapter.hosts.registry import hosts, published
from iqp_adapter.store.words import wants_memory

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
    "parts in a list": ("HOST = spec(parts=['their.key'])", "its parts cannot be ['their.key']"),
    "parts in a text": ("HOST = spec(parts='their.key')", "its parts cannot be 'their.key'"),
    "multiple of nothing": ("HOST = spec(multiple=0)", "its multiple cannot be 0"),
    "huge multiple": ("HOST = spec(multiple=10**30)", "its multiple cannot be 10000"),
    "layout": ("HOST = spec(any_layout=1)", "its any_layout cannot be 1"),
    "classes": ("HOST = spec(classes={'theirs': 1})", "its classes cannot be {'theirs': 1}"),
    "fidelity": ("HOST = spec(fidelity=0.5)", "its fidelity cannot be 0.5"),
    "traceable": ("HOST = spec(traceable=True)", "its traceable cannot be True"),
    "too few arguments": ("HOST = spec(restore=sites)", "its restore cannot be <function sites"),
    "too many arguments": ("HOST = spec(sites=restore)", "its sites cannot be <function restore"),
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


MODULE = """
from torch import nn

class Theirs(nn.Module):
    def __init__(self):
        super().__init__()
        self.their = nn.Conv2d(3, 3, 1)

    def forward(self, lq):
        return self.their(lq)

def sites(host):
    return [Site("their", 3, "BCHW")]

"""
USED = {
    "restore raises": ("restore", "raise RuntimeError('no\\nGPU')", "fails (RuntimeError: no GPU)"),
    "restore raises colours": ("restore", "raise Exception('\\x1b[31m' * 500)", "fails (Exception: [31m [31m"),
    "restore raises its own": ("restore", "raise ValueError('bad')", "fails (ValueError: bad)"),
    "restore leaves": ("restore", "import sys; sys.exit('bye')", "fails (SystemExit: bye)"),
    "restore gives nothing": ("restore", "return None", "gives None, expected a tensor of pictures"),
    "restore gives several": ("restore", "return (lq, lq)", "expected a tensor of pictures"),
    "restore gives another batch": ("restore", "return lq[:1]", "gives a tensor (1, 3, 8, 8), expected"),
    "restore gives grey": ("restore", "return lq[:, :1]", "gives a tensor (2, 1, 8, 8), expected"),
    "restore cuts": ("restore", "return lq[..., :-1]", "gives a tensor (2, 3, 8, 7), expected"),
    "restore gives 8 bits": ("restore", "return (lq * 255).byte()", "gives a tensor (2, 3, 8, 8), expected"),
    "restore gives no numbers": ("restore", "return lq.to('meta')", "gives a tensor (2, 3, 8, 8), expected"),
    "sites gives words": ("sites", "return ['their']", "gives ['their'], expected a list of Site"),
    "resolution raises": ("resolution", "return 1 / 0", "fails (ZeroDivisionError: division by zero)"),
    "resolution gives a text": ("resolution", "return '512'", "gives '512', expected a number of pixels"),
    "resolution gives a huge number": ("resolution", "return 10**30", "expected a number of pixels from 1 to 32768"),
    "fidelity": ("fidelity", "return 2", "gives 2, expected a number in [0, 1], or None"),
    "codes": ("codes", "return []", "gives [], expected a CodeAccess, or None"),
    "decide": ("decide", "return lq", "expected code logits, and a function that decodes others"),
    "traceable": ("traceable", "return None", "gives None, expected a context"),
    "dial": ("dial", "return 0.7", "gives 0.7, expected an OwnDial, or None"),
    "swallowed": ("swallowed", "return ['weight']", "gives ['weight'], expected names of arguments with texts"),
}


def put_used(install: Install, function: str, body: str) -> Any:
    """Installs a host one of whose functions is that, and gives an instance."""
    arguments = "host, lq" if function in ("restore", "decide") else "host"
    code = f"def {function}({arguments}):\n    {body}\n"
    given = f"{{'has': ('their.',), 'sites': sites, '{function}': {function}}}"
    install("bad_one", f"{HEAD}{MODULE}{code}HOST = spec(**{given})\n")
    assert "theirs" in hosts()
    return sys.modules["bad_one_module"].Theirs()


@pytest.mark.parametrize("name", USED)
def test_a_host_that_fails_in_use_is_named_in_one_line(install, name):
    function, body, words = USED[name]
    theirs = put_used(install, function, body)
    with pytest.raises((ValueError, TypeError)) as caught:
        model = wrap(theirs)
        lq = torch.rand(2, 3, 8, 8)
        model.restore(lq)
        model.own_fidelity, model.traceable(), model.decision(lq)
    line = str(caught.value)
    assert line.startswith(f"{function} of the host 'theirs' of the package bad_one ") and words in line
    assert line.endswith("; mend or uninstall the package") and "\n" not in line and len(line) < 700


@pytest.mark.parametrize("failing", ["raise MemoryError", f"import torch; torch.empty({MUCH})"])
def test_want_of_memory_is_no_fault_of_the_package(install, failing):
    theirs = put_used(install, "restore", failing)
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        wrap(theirs).restore(torch.rand(1, 3, 8, 8))
    assert wants_memory(caught.value) and "package" not in str(caught.value)


def test_a_good_host_works_and_can_be_pickled(install):
    theirs = put_used(install, "restore", "return lq / 2")
    lq = torch.rand(1, 3, 8, 8)
    model = pickle.loads(pickle.dumps(wrap(theirs)))
    assert torch.equal(model.restore(lq), lq / 2)
    with pytest.raises(ValueError, match="strength is 1, but theirs has no strength; it takes nothing"):
        model.restore(lq, strength=1)


def test_a_package_that_is_on_the_path_twice_is_there_once(install, tmp_path, monkeypatch, caplog):
    install("good_one", GOOD)
    monkeypatch.syspath_prepend(str(tmp_path / ".." / tmp_path.name))
    hosts.cache_clear()
    assert "theirs" in hosts() and not caplog.text
