"""Weight files of other projects: every form that training leaves is read, and nothing in a file ever runs."""

from __future__ import annotations

import argparse
import builtins
import logging
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from iqp_adapter.store.foreign import read_foreign, refuse_more_than_tensors


def state() -> dict[str, Tensor]:
    return {"weight": torch.arange(12.0).view(3, 4), "bias": torch.ones(4)}


def wrong() -> dict[str, Tensor]:
    return {key: value + 1 for key, value in state().items()}


class Callback:
    """What Lightning's callbacks are: classes that name what they left in the file."""


class Settings(dict):
    """As Lightning's AttributeDict."""


FORMS = {
    "compiled": {f"_orig_mod.{key}": value for key, value in state().items()},
    "compiled parallel": {f"module._orig_mod.{key}": value for key, value in state().items()},
    "parallel compiled": {f"_orig_mod.module.{key}": value for key, value in state().items()},
    "parallel twice": {f"module.module.{key}": value for key, value in state().items()},
    "model": {"model": state(), "epoch": 3},
    "net": {"net": state()},
    "model_state_dict": {"model_state_dict": state(), "optimizer": {}},
    "params-ema": {"params-ema": state(), "params": wrong()},
    "any name": {"my restorer": state(), "epoch": 3},
    "nested": {"state_dict": {"model": state()}},
    "numpy": {"params": state(), "rate": np.float64(1e-4), "seen": np.int64(3), "losses": np.ones(3)},
    "optimizer": {
        "model": state(),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
    },
    "generator": {"netG": state(), "netD": wrong(), "optimizer_g": {"state": {}}},
    "one of two": {"my generator": state(), "discriminator": wrong(), "loss": {"scale": torch.ones(1)}},
    "lightning": {
        "state_dict": state(),
        "callbacks": {Callback: {"best": torch.ones(1), "where": Path("out")}},
        "hyper_parameters": Settings(rate=1e-4, folder=Path("out"), options=argparse.Namespace(depth=3)),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}}],
    },
    "lightning 2": {"state_dict": state(), "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.ones(())}}},
    "beside": {"net": state(), "when": datetime(2026, 1, 1), "seen": defaultdict(list, a=[1])},
    "ordered": {"params": OrderedDict(state())},
    "parameters": {"params": {key: torch.nn.Parameter(value) for key, value in state().items()}},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_training_leaves_is_read(tmp_path, form, zipped):
    torch.save(FORMS[form], tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    read = read_foreign(tmp_path / "net.pth")
    assert read.keys() == state().keys()
    assert all(torch.equal(read[key], value) for key, value in state().items())


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_safetensors_are_told_by_their_content(tmp_path, name):
    save_file({f"_orig_mod.{key}": value for key, value in state().items()}, tmp_path / name)
    assert read_foreign(tmp_path / name).keys() == state().keys()


def test_what_is_taken_and_what_is_left_out_is_said(tmp_path, caplog):
    torch.save({"params": wrong(), "params_ema": state(), "optimizer": {}}, tmp_path / "net.pth")
    with caplog.at_level(logging.INFO, "iqp_adapter"):
        read_foreign(tmp_path / "net.pth")
    assert "took the weights under 'params_ema', left out 2 (params, optimizer)" in caplog.text


def test_of_several_sets_of_weights_none_is_guessed(tmp_path):
    torch.save({"first": state(), "second": state()}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net.pth holds several sets of weights, 2 \(first, second\); save one"):
        read_foreign(tmp_path / "net.pth")


def test_a_content_that_holds_itself_ends(tmp_path):
    content: dict[str, Any] = {"epoch": 1}
    content["content"] = content
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"holds 2 entries, 2 \(content, epoch\) of them no tensors"):
        read_foreign(tmp_path / "net.pth")


class Runs:
    """What a pickle would call."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


CALLS = {
    "mkdir": Runs(os.mkdir, "harm"),
    "system": Runs(os.system, "mkdir harm"),
    "exec": Runs(exec, "import os; os.mkdir('harm')"),
    "eval": Runs(eval, "__import__('os').mkdir('harm')"),
    "getattr": Runs(getattr, Callback, "__doc__"),
    "import": Runs(builtins.__import__, "antigravity"),
    "Popen": Runs(subprocess.Popen, ["mkdir", "harm"]),
    "load": Runs(pickle.loads, pickle.dumps(Runs(os.mkdir, "harm"))),
    "torch": Runs(torch.hub.load, "me/harm", "model", "local"),
    "own": Runs(Callback),
}


def as_saved(content: Any, path: Path) -> None:
    torch.save(content, path)


def as_saved_once(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def pickled(protocol: int) -> Any:
    def write(content: Any, path: Path) -> None:
        path.write_bytes(pickle.dumps(content, protocol))

    return write


def named_archive(content: Any, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
        archive.writestr("archive/version", "3")


@pytest.mark.parametrize("write", [as_saved, as_saved_once, named_archive, *map(pickled, range(6))])
@pytest.mark.parametrize("call", CALLS)
def test_no_call_in_a_file_is_made_and_it_is_named(tmp_path, monkeypatch, call, write):
    monkeypatch.chdir(tmp_path)
    write({"params": state() if "saved" in str(write) else {}, "more": CALLS[call]}, Path("net.pth"))
    function = CALLS[call].call[0]
    with pytest.raises(ValueError) as caught:
        read_foreign("net.pth")
    told = str(caught.value)
    assert not Path("harm").exists() and "\n" not in told
    assert "holds code" in told and function.__name__ in told


def test_a_call_in_place_of_the_content_or_of_a_tensor_is_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (CALLS["exec"], {"weight": CALLS["exec"]}, {CALLS["getattr"]: 1}, [CALLS["exec"]]):
        torch.save(content, "net.pth")
        with pytest.raises(ValueError, match=r"net.pth holds code \(builtins\.(exec|getattr)\), which is never run"):
            read_foreign("net.pth")
    assert not Path("harm").exists()


def test_reading_leaves_no_trace_in_torch(tmp_path):
    torch.save(FORMS["lightning"], tmp_path / "net.pth")
    before = set(torch.serialization.get_safe_globals())
    read_foreign(tmp_path / "net.pth")
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_reader_that_would_run_code_gets_tensors_alone(tmp_path):
    torch.save(FORMS["lightning"], tmp_path / "net.pth")
    with pytest.raises(ValueError, match="net.pth holds more than tensors .*; save its state dict alone"):
        refuse_more_than_tensors(tmp_path / "net.pth")
    torch.save(FORMS["model"], tmp_path / "net.pth")
    refuse_more_than_tensors(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"root:x:0:0:root:/root:/bin/bash\n", "is damaged, or no weight file"),
        (b"\n<!DOCTYPE html><title>404</title>", "is a web page, not weights"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
            "is a Git LFS pointer, .*git lfs pull",
        ),
        (b"", "is damaged, or no weight file"),
        (b"\x80\x02", "is damaged, or no weight file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is damaged, or no weight file"),
        (bytes(8) + b"{}", "is damaged"),
    ],
)
@pytest.mark.parametrize("name", ["net.pth", "net.ckpt", "net.safetensors"])
def test_what_is_no_weight_file_is_told_in_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    said = said.partition(",")[0] if name.endswith("safetensors") else said
    with pytest.raises(ValueError, match=f"{name} {said}") as caught:
        read_foreign(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_archive_without_weights_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
        archive.writestr("photo.txt", "no weights")
    with pytest.raises(ValueError, match="net.pth is a zip archive without weights of torch"):
        read_foreign(tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_program_of_torchscript_is_told(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "net.pth")
    with pytest.raises(ValueError, match="net.pth is a TorchScript program; fetch it again, or save a state dict"):
        read_foreign(tmp_path / "net.pth")


def test_a_file_that_was_cut_is_damaged_and_holds_no_code(tmp_path):
    for zipped in (True, False):
        torch.save(FORMS["lightning"], tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
        whole = (tmp_path / "net.pth").read_bytes()
        for part in (0.3, 0.6, 0.9):
            (tmp_path / "net.pth").write_bytes(whole[: int(part * len(whole))])
            with pytest.raises(
                ValueError, match=r"net.pth is damaged, or no weight file; fetch it again, or save a st"
            ):
                read_foreign(tmp_path / "net.pth")


def test_changed_bytes_are_an_error_of_value_or_nothing(tmp_path):
    torch.save(FORMS["lightning"], tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "net.pth").read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in draw.integers(0, len(whole), 3):
            content[place] = draw.integers(256)
        (tmp_path / "net.pth").write_bytes(content)
        try:
            read_foreign(tmp_path / "net.pth")
        except ValueError as error:
            assert "\n" not in str(error)
