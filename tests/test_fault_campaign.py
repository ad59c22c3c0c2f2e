"""The campaign of faults sees them: damages depend on their seed alone, and its judges refuse what they should."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.faults import config_damages, configurations, plugin_faults, plugins
from benchmarks.faults.children import Ended
from benchmarks.install_sizes import MEGABYTE, beside
from iqp_adapter.training.config import TrainConfig


@pytest.mark.parametrize("name", config_damages.DAMAGES)
def test_damages_of_settings_depend_on_their_seed_alone(root, name):
    content = (root / "examples" / "native_tiny.yaml").read_bytes()
    made = [config_damages.DAMAGES[name](content, Random(f"0 {seed}")) for seed in range(40)]
    assert made == [config_damages.DAMAGES[name](content, Random(f"0 {seed}")) for seed in range(40)]
    assert len({str(one) for one in made}) > 5


@pytest.mark.parametrize("make", [plugin_faults.host, plugin_faults.metric, plugin_faults.degradation])
def test_faulty_plugins_depend_on_their_seed_alone(make):
    made = [make(Random(f"0 {seed}")) for seed in range(40)]
    assert made == [make(Random(f"0 {seed}")) for seed in range(40)] and len(set(made)) > 20


@pytest.mark.parametrize(
    ("text", "value", "same"),
    [
        ("0400", 256, False), ("1:30", 90, False), ("1e-3", 0.001, True), ("0x1F", 31, True), ("20_000", 20000, True),
        ("yes", True, True), ("3", "3", True), ("3", 4, False), (["1", "2"], [1, 2], True), (["1"], [1, 2], False),
        ("", None, True), ("x", None, False),
    ],
)  # fmt: skip
def test_a_value_is_as_it_was_written(text, value, same):
    assert configurations._same(text, value) is same


def test_a_setting_that_is_not_as_written_is_seen(root, tmp_path):
    path, words = tmp_path / "settings.yaml", ["--stages.2.rate", "7", "--seed=3"]
    path.write_bytes((root / "examples" / "native_tiny.yaml").read_bytes())
    assert configurations._differences(TrainConfig.load(path, words), path, words) == []
    seen = configurations._differences(TrainConfig.load(path), path, words)
    assert [line.split(":")[0] for line in seen] == ["stages.2.rate", "seed"]


@pytest.mark.parametrize(
    ("output", "unnamed"),
    [
        ("refused: a/settings.yaml: seed is 'x'; give a whole number\n", False),
        ("refused: --seed has no value\n", False),
        ("refused: seed is 'x'\n", True),
        ("late: refused: a/settings.yaml: seed is 'x'\n", True),
        ("refused: a/settings.yaml: seed is\n'x'\n", True),
        (f"refused: a/settings.yaml: {'x' * 5000}\n", True),
    ],
)
def test_a_refusal_of_settings_is_one_line_with_a_name_in_time(output, unnamed):
    assert configurations._judged(Ended(1, output, 1.0))["unnamed"] == unnamed


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ("refused: restore of the host 'theirs' of the package their_package fails\n", None),
        ("refused: 'NoneType' object has no attribute 'shape'\n", "unnamed"),
        ("refused with lines: their_package\nfails\n", "unnamed"),
        ("wrong: a picture (1, 3, 5, 64)\n", "wrong"),
        ("Traceback (most recent call last):\n", "traces"),
        ("refused: their_package \x1b[31m\n", "traces"),
    ],
)
def test_a_faulty_plugin_is_judged(output, fault):
    refusals = [line for line in output.splitlines() if line.startswith("refused: ")]
    counts = plugins._judged(Ended(0, output, 1.0), refusals, "their_package")
    assert [name for name in plugins.FAULTS if counts[name]] == ([fault] if fault else [])


def test_sizes_are_those_of_what_was_added():
    before = {"bytes": 10 * MEGABYTE, "packages": {"torch 2.0": 9 * MEGABYTE, "pip 1": 1}}
    after = {"bytes": 25 * MEGABYTE, "packages": before["packages"] | {"small 1": MEGABYTE, "large 2": 14 * MEGABYTE}}
    assert beside(after, before) == {"packages": 2, "MB": 15, "MB of each": {"large 2": 14.0, "small 1": 1.0}}
