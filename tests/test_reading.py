"""Text from outside: what is good comes through, all else is one line with the name of the file."""

from __future__ import annotations

import time

import pytest

from iqp_adapter.store.reading import LARGEST, Fields, json_file, json_text, yaml_file, yaml_text

LEVELS = "abcdefgh"
LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip(LEVELS, LEVELS[1:], strict=False)
)
MERGES = "a: &a {q: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}], k{name}: 1}}\n"
    for before, name in zip(LEVELS, LEVELS[1:], strict=False)
)


def refused(read, *arguments) -> str:
    start = time.monotonic()
    with pytest.raises(ValueError) as caught:
        read(*arguments)
    assert time.monotonic() - start < 5
    said = str(caught.value)
    assert said.startswith("FILE") and "\n" not in said and len(said) < 500
    return said


def test_good_text_comes_through(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, null, true, "\xc3\xa4"], "b": {}}')
    assert json_file(tmp_path / "a.json") == {"a": [1, 2.5, None, True, "ä"], "b": {}}
    assert json_text("[1]", "FILE", list) == [1]
    (tmp_path / "a.yaml").write_text("base: &b {x: 1, y: 2}\nown: &o {<<: *b, x: 3}\nlast: {y: 2}\n1: 1e-3\n2: -2E4")
    assert yaml_file(tmp_path / "a.yaml") == {
        "base": {"x": 1, "y": 2}, "own": {"x": 3, "y": 2}, "last": {"y": 2}, 1: 1e-3, 2: -2e4,
    }  # fmt: skip
    assert yaml_text("rate: 1e5x", "FILE") == {"rate": "1e5x"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value: line 1"),
        ("<html>", "is no JSON that can be read"),
        ("[1]", "expected entries with names"),
        ("null", "expected entries with names"),
        ('{"a": 1, "b": 2, "a": 3}', "two entries of the name 'a'"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e999}', "inf, which is no finite number"),
        ('{"a": "\\ud800"}', "no text in Unicode"),
        ('{"a": ' + "9" * 5000 + "}", "is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "more than 64 levels"),
        ("[" + "1," * 600_000 + "1]", "expected entries with names"),
        ('{"a":[' + "1," * 600_000 + "1]}", "or 500000 values"),
        (b"\xff\xfe{\x00}\x00", "no text in UTF-8 (byte 0)"),
        (b" " * (LARGEST + 1), "too large for a file of settings"),
    ],
)
def test_bad_json_is_named(text, words):
    assert words in refused(json_text, text, "FILE")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "FILE holds None, expected entries with names"),
        ("hello", "FILE holds 'hello', expected entries with names"),
        ("a: 1\na: 2", "two entries of the name 'a'"),
        ("a: {b: 1, c: 2, b: 3}", "two entries of the name 'b'"),
        ("a: .nan", "no finite number"),
        ("a: 2020-01-01", "a date; put it in quotes"),
        ("a: 2020-99-01", "month must be in"),
        ("a: !!python/object/apply:os.mkdir [harm]", "could not determine a constructor"),
        ("a: [", "expected the node content"),
        ("\t", "cannot start any token"),
        ("a: \x00", "unacceptable character"),
        ("--- a\n--- b", "expected a single document"),
        ("{[1]: 2}", "unhashable key"),
        ("a: !!timestamp x", "is no YAML"),
        ("a: !!bool maybe", "is no YAML"),
        ("a: &x [*x]", "more than 64 levels"),
        ("[" * 5000, "nested too deeply"),
        (LAUGHS, "or 500000 values"),
        ("a: 0x" + "f" * 5000, "FILE holds 0xffff"),
        ("0x" + "f" * 5000, "FILE holds 0xffff"),
        (b"a: \xe4", "no text in UTF-8 (byte 3)"),
    ],
)
def test_bad_yaml_is_named(text, words):
    assert words in refused(yaml_text, text, "FILE")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0400", "0400"), ("1:30", "1:30"), ("0o17", "0o17"), ("1__0", "1__0"), ("1_", "1_"), ("1:30.5", "1:30.5"),
        ("20_000", 20_000), ("0", 0), ("-0", 0), ("+5", 5), ("0x1F", 31), ("0b11", 3), ("5.", 5.0), (".5", 0.5),
        ("00.5", 0.5), ("1e-3", 1e-3), ("1.5E+3", 1500.0), ("-2e4", -2e4), ("1_0.5", 10.5),
    ],
)  # fmt: skip
def test_numbers_mean_what_they_look_like(text, value):
    read = yaml_text(f"a: {text}", "FILE")["a"]
    assert read == value and type(read) is type(value)


def test_merged_mappings_stay_small():
    start = time.monotonic()
    try:
        yaml_text(MERGES, "FILE")
    except ValueError as error:  # some versions of the parser drop what is merged twice
        assert "entries" in str(error)
    assert time.monotonic() - start < 5


FIELDS = Fields(
    {"n": 3, "x": 0.5, "yes": True, "word": "best", "list": [1, 2], "inner": {"deep": "x" * 1000}, "huge": 10**400,
     "objects": [{"a": 1}]},
    "FILE",
)  # fmt: skip


def test_entries_that_fit():
    assert FIELDS.whole("n", 1, 3) == 3 and FIELDS.whole("none", 1, 3, default=2) == 2
    assert FIELDS.number("n") == 3 and FIELDS.number("x", 0, 1) == 0.5 and FIELDS.number("none", default=None) is None
    assert FIELDS.truth("yes") is True and FIELDS.text("word", ["best", "any"]) == "best"
    assert FIELDS.wholes("list", 1, 2, (1, 2)) == (1, 2) and FIELDS.numbers("list", (2, 2)) == (1, 2)
    assert FIELDS.inside("inner").text("deep") == "x" * 1000
    assert [entry.whole("a", 1, 1) for entry in FIELDS.each("objects", (1, 1))] == [1]
    assert FIELDS.only(FIELDS.data.keys()) is FIELDS


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda f: f.whole("word", 1, 64), "FILE: `word` is 'best', expected a whole number from 1 to 64"),
        (lambda f: f.whole("yes", 0, 1), "FILE: `yes` is True, expected a whole number from 0 to 1"),
        (lambda f: f.whole("x", 0, 1), "FILE: `x` is 0.5, expected a whole number from 0 to 1"),
        (lambda f: f.whole("n", 4, 9), "FILE: `n` is 3, expected a whole number from 4 to 9"),
        (lambda f: f.whole("none", 4, 9), "FILE: `none` is missing, expected a whole number from 4 to 9"),
        (lambda f: f.number("x", 1, 2), "FILE: `x` is 0.5, expected a number from 1 to 2"),
        (lambda f: f.truth("n"), "FILE: `n` is 3, expected true or false"),
        (lambda f: f.text("n"), "FILE: `n` is 3, expected a text"),
        (lambda f: f.text("word", ["a", "b"]), "FILE: `word` is 'best', expected one of 'a', 'b'"),
        (lambda f: f.wholes("list", 0, 1, (1, 2)), "FILE: `list.1` is 2, expected a whole number from 0 to 1"),
        (lambda f: f.numbers("list", (3, 9)), "FILE: `list` is [1, 2], expected a list of 3 to 9 numbers"),
        (lambda f: f.numbers("word", (1, 9)), "FILE: `word` is 'best', expected a list of 1 to 9 numbers"),
        (lambda f: f.inside("n"), "FILE: `n` is 3, expected an object"),
        (lambda f: f.inside("inner").truth("z"), "FILE: `inner.z` is missing, expected true or false"),
        (lambda f: f.each("list", (0, 9)), "FILE: `list.0` is 1, expected an object"),
        (lambda f: f.only(["n"]), "FILE: 'x' is not known here; known: n"),
        (lambda f: f.number("huge"), "FILE: `huge` is 1000"),
        (lambda f: f.inside("inner").whole("deep", 0, 1), "FILE: `inner.deep` is 'xxx"),
    ],
)
def test_entries_that_do_not_fit_are_named(read, said):
    assert refused(read, FIELDS).startswith(said)
