"""Checkpoints: what was saved comes back to the bit, nothing else passes, and a crash never mixes two saves."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest
import torch
from no_memory import NO_MEMORY
from safetensors.torch import save_file
from torch import nn

from iqp_adapter.store import checkpoint
from iqp_adapter.store.checkpoint import CONFIG, WEIGHTS


def state(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"a.weight": torch.full((4, 3), value), "a.bias": torch.arange(4), "scale": torch.tensor(value)}


def numbered(number: int) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    return state(number), {"number": number}


def test_round_trip_is_exact_whatever_the_tensors(tmp_path):
    noise = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    tensors = {
        "float": noise,
        "half": noise.half(),
        "bfloat": noise.bfloat16(),
        "double": noise.double(),
        "integer": torch.tensor([-1, 2**40]),
        "truth": torch.tensor([True, False]),
        "single": torch.tensor(3.5),
        "none": torch.zeros(0, 4),
        "channels_last": noise.to(memory_format=torch.channels_last),
        "transposed": noise.transpose(0, 3),
        "shared": noise[:1],
        "parameter": nn.Parameter(noise),
    }
    config = {"name": "tiny ✓", "sizes": [1, 2.5], "nested": {"none": None, "yes": True}}
    checkpoint.save(tmp_path / "new" / "model", tensors, config)
    loaded_config, loaded = checkpoint.load(tmp_path / "new" / "model")
    assert loaded_config == config
    assert loaded.keys() == tensors.keys()
    assert all(loaded[key].dtype == tensors[key].dtype and torch.equal(loaded[key], tensors[key]) for key in tensors)


def test_equal_saves_are_equal_files(tmp_path):
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, dict(reversed(state().items())) if name == "a" else state(), {"x": 1, "y": 2})
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()


def test_config_is_there_for_people_too(tmp_path):
    checkpoint.save(tmp_path, *numbered(1))
    assert json.loads((tmp_path / CONFIG).read_text()) == {"number": 1}


def test_saving_again_keeps_what_else_is_in_the_folder(tmp_path):
    checkpoint.save(tmp_path, *numbered(1))
    (tmp_path / "README.md").write_text("mine")
    checkpoint.save(tmp_path, *numbered(2))
    config, loaded = checkpoint.load(tmp_path)
    assert config["number"] == loaded["scale"] == 2
    assert sorted(os.listdir(tmp_path)) == sorted([CONFIG, WEIGHTS, "README.md"])
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("step", [1, 2])
def test_a_crash_between_the_files_never_mixes_two_saves(tmp_path, monkeypatch, caplog, step):
    checkpoint.save(tmp_path, *numbered(1))
    steps, atomic_path = iter(range(1, 3)), checkpoint.atomic_path

    def failing(path):
        if next(steps) == step:
            raise OSError("no space left on device")
        return atomic_path(path)

    monkeypatch.setattr(checkpoint, "atomic_path", failing)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(tmp_path, *numbered(2))
    config, loaded = checkpoint.load(tmp_path)
    assert config["number"] == loaded["scale"] == step
    assert ("config.json is not the config of the weights" in caplog.text) == (step == 2)
    monkeypatch.setattr(checkpoint, "atomic_path", atomic_path)
    checkpoint.save(tmp_path, *numbered(3))
    assert checkpoint.load(tmp_path)[0]["number"] == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_a_kill_at_any_moment_leaves_one_whole_save(tmp_path):
    moments = random.Random(0)
    for start in range(100, 2100, 100):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            for number in range(start, start + 100):
                checkpoint.save(tmp_path, *numbered(number))
                os.write(writing, b".")
            os._exit(0)
        for _ in range(moments.randint(1, 4)):
            os.read(reading, 1)
        time.sleep(moments.uniform(0, 0.004))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        config, loaded = checkpoint.load(tmp_path)
        assert config["number"] == loaded["scale"] == loaded["a.weight"][0, 0] >= start
        os.close(reading), os.close(writing)


@pytest.mark.parametrize("empty", [{}, {"a": torch.zeros(0)}, {"a": torch.zeros(0), "b": torch.zeros(3, 0)}])
def test_an_empty_state_is_refused(tmp_path, empty):
    with pytest.raises(ValueError, match=rf"the state is empty \({len(empty)} tensors without numbers\), nothing was"):
        checkpoint.save(tmp_path / "model", empty, {})
    assert not (tmp_path / "model").exists()


def test_what_does_not_belong_into_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"the state holds 1 \(epoch\) values that are no tensors"):
        checkpoint.save(tmp_path, state() | {"epoch": 3}, {})
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoint.save(tmp_path, state(), {"dtype": torch.float32})
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.save(tmp_path, state(), {"loss": float("nan")})
    assert not os.listdir(tmp_path)


def foreign_weights(folder):
    save_file(state(), folder / WEIGHTS)


def foreign_config(folder):
    (folder / CONFIG).write_text('{"architectures": ["Other"]}')


def damaged_weights(folder):
    (folder / WEIGHTS).write_bytes(b"something else")


@pytest.mark.parametrize("put", [foreign_weights, foreign_config, damaged_weights])
def test_files_of_others_are_not_overwritten(tmp_path, put):
    put(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="is not overwritten; choose another folder|is damaged"):
        checkpoint.save(tmp_path, state(), {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_truncated_weights_are_damaged(tmp_path, kept):
    checkpoint.save(tmp_path, state(), {})
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged \(.*\); fetch or save it again"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
def test_whole_weights_are_not_damaged_where_memory_lacks(tmp_path, monkeypatch, error):
    def fail(*args, **options):
        raise error

    checkpoint.save(tmp_path, *numbered(1))
    monkeypatch.setattr(checkpoint, "safe_open", fail)
    with pytest.raises(type(error)) as caught:
        checkpoint.load(tmp_path)
    assert caught.value is error


def test_one_changed_bit_is_noticed(tmp_path):
    checkpoint.save(tmp_path, state(), {})
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[-2] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match="damaged: its content does not have its own checksum"):
        checkpoint.load(tmp_path)


def test_what_is_no_checkpoint_is_said(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no checkpoint in .*nowhere; it would be a folder with model.safetensors"
    ):
        checkpoint.load(tmp_path / "nowhere")
    foreign_weights(tmp_path)
    with pytest.raises(ValueError, match="has no config inside, so iqp_adapter did not save it"):
        checkpoint.load(tmp_path)


def test_strict_loading_fills_every_tensor():
    source, target = nn.Linear(3, 4), nn.Linear(3, 4)
    checkpoint.load_strict(target, source.state_dict(), "here")
    assert torch.equal(source.weight, target.weight) and torch.equal(source.bias, target.bias)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("bias"), r"1 \(bias\) missing, 0 unexpected, 0 of another shape"),
        (lambda s: s.update(gate=torch.ones(1)), r"0 missing, 1 \(gate\) unexpected, 0 of another shape"),
        (lambda s: s.update(bias=torch.ones(5)), r"0 missing, 0 unexpected, 1 \(bias \(5,\) for \(4,\)\) of another"),
        (lambda s: s.update(dict.fromkeys("stuvw", torch.ones(1))), r"0 missing, 5 \(s, t, u, ...\) unexpected"),
    ],
)
def test_strict_loading_fails_both_ways_and_changes_nothing(change, words):
    target, wrong = nn.Linear(3, 4), nn.Linear(3, 4).state_dict()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    change(wrong)
    with pytest.raises(ValueError, match=rf"^tiny does not fit Linear: .*{words}") as caught:
        checkpoint.load_strict(target, wrong, "tiny")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pt"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"params_ema": s, "params": {"old": torch.ones(1)}},
        lambda s: {"params": s},
        lambda s: {"state_dict": s, "epoch": 3, "global_step": 9},
        lambda s: {"g": {"old": torch.ones(1)}, "g_ema": s},
        lambda s: {f"module.{key}": value for key, value in s.items()},
    ],
)
def test_foreign_files_lose_their_wrapping(tmp_path, wrap, suffix):
    torch.save(wrap(state()), tmp_path / f"net{suffix}")
    read = checkpoint.read_foreign(tmp_path / f"net{suffix}")
    assert read.keys() == state().keys()
    assert all(torch.equal(read[key], value) for key, value in state().items())


def test_foreign_safetensors(tmp_path):
    save_file({f"module.{key}": value for key, value in state().items()}, tmp_path / "net.safetensors")
    assert checkpoint.read_foreign(tmp_path / "net.safetensors").keys() == state().keys()


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_code_in_a_foreign_file_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": state(), "more": Malicious()}, "net.pth")
    with pytest.raises(ValueError, match=r"net.pth holds code \((posix|nt).mkdir\), which is never run") as caught:
        checkpoint.read_foreign("net.pth")
    assert "\n" not in str(caught.value)
    assert not os.path.exists("harm")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list, expected a state dict"),
        ({}, "holds 0 entries, 0 of them no tensors"),
        (
            {"epoch": 3, "weight": torch.ones(1)},
            r"holds 2 entries, 1 \(epoch\) of them no tensors; save a state dict",
        ),
        ({"state_dict": {"step": 1}}, r"holds 1 entries, 1 \(state_dict\) of them"),
    ],
)
def test_foreign_files_without_weights(tmp_path, content, words):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=words):
        checkpoint.read_foreign(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_foreign_files_that_are_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        checkpoint.read_foreign(tmp_path / name)


def test_foreign_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file .*net.pth; give a .safetensors, .pth or .ckpt file"):
        checkpoint.read_foreign(tmp_path / "net.pth")
