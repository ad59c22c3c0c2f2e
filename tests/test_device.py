"""Devices: whatever runs somewhere asks one function, which says what this machine has."""

from __future__ import annotations

import re

import pytest
import torch
from typer.testing import CliRunner

import iqp_adapter as iqp
from iqp_adapter.bench.run import place
from iqp_adapter.cli import app
from iqp_adapter.core.device import default_device, device_of

ABSENT = ["potato", "", "meta", "cpu:1", "cuda:7", "mps:3", "cuda:99999999999999999999", "cuda:-1", "xla", "cpu:x"]


@pytest.fixture
def cpu_alone(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)


def test_the_default_is_one_that_is_there(device):
    assert device_of(None) == default_device() == device
    assert device_of("cpu") == device_of(torch.device("cpu")) == torch.device("cpu")
    assert device_of("cpu:0").type == "cpu" and device_of(device) == device


@pytest.mark.parametrize("name", [*ABSENT, "cuda", "mps", "xpu"])
@pytest.mark.parametrize(
    "use", [device_of, place, lambda name: iqp.load("tiny", device=name), lambda name: iqp.Scorer(device=name)]
)
def test_a_device_that_is_not_here_is_named(cpu_alone, use, name):
    with pytest.raises(ValueError, match=f"^this machine has no device {re.escape(repr(name))}; it has cpu$"):
        use(name)


def test_what_there_is_is_listed_with_its_numbers(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert device_of("cuda:1") == torch.device("cuda:1") and device_of("cuda") == torch.device("cuda")
    for name in ("cuda:2", "mps"):
        with pytest.raises(ValueError, match=f"no device '{name}'; it has cuda:0, cuda:1, cpu"):
            device_of(name)


def test_the_command_says_it_in_one_line(cpu_alone, tmp_path):
    shown = CliRunner().invoke(app, ["restore", "--demo", "-o", str(tmp_path / "out"), "--device", ""])
    assert (shown.exit_code, shown.output) == (2, "iqp: this machine has no device ''; it has cpu\n")
