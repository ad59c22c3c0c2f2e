"""Exports that are damaged, foreign or disturbed: they run as they did, or one line says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from native_pieces import Plain
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import iqp_adapter as iqp
from iqp_adapter.cli import app
from iqp_adapter.engines import choice, formats, kept, openvino
from iqp_adapter.engines.export import export
from iqp_adapter.engines.exported import CONFIG, is_exported
from iqp_adapter.engines.formats import FORMATS, NotHereError, format_of, version_of
from iqp_adapter.engines.graph import NotExportableError
from iqp_adapter.store.files import sha256_of
from iqp_adapter.store.folders import atomic_folder


@pytest.fixture(autouse=True)
def packages() -> None:
    """The extras are not everywhere."""
    for package in ("openvino", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An export of each format; they are only copied."""
    made = {name: tmp_path_factory.mktemp("exports") / name for name in FORMATS}
    for name, folder in made.items():
        export(Plain(), folder, name)
    return made


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def copy(exports: dict[str, Path], format: str, tmp_path: Path) -> Path:
    return shutil.copytree(exports[format], tmp_path / "copy")


@pytest.fixture
def program(copy: Path, format: str) -> Path:
    """The file that the engine is given."""
    return copy / format_of(format).FILES[0]


@pytest.fixture
def lq() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / CONFIG).read_text())


def change(folder: Path, **entries: Any) -> None:
    (folder / CONFIG).write_text(json.dumps(config_of(folder) | entries))


def seal(folder: Path) -> None:
    """Has the checksums fit what is there, as an odd tool or an attacker would."""
    change(folder, files={name: sha256_of(folder / name) for name in config_of(folder)["files"]})


def refused(folder: Path, says: str, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind, match=says) as refusal:
        iqp.load(folder)
    assert "\n" not in str(refusal.value).strip()
    return str(refusal.value)


class TestDamage:
    """What is not as it was written is never run."""

    @pytest.mark.parametrize("text", ["", "[", "<html>", '{"kind": "other"}', "{}"])
    def test_a_config_that_says_nothing_is_named(self, copy: Path, text: str):
        (copy / CONFIG).write_text(text)
        refused(copy, "config.json")

    def test_a_program_without_its_config_is_no_checkpoint(self, copy: Path):
        (copy / CONFIG).unlink()
        refused(copy, "no exported restorer in .*copy", FileNotFoundError)

    def test_weights_of_torch_beside_a_program_stay_a_checkpoint(self, program: Path):
        (program.parent / CONFIG).write_text("{}")
        (program.parent / "model.safetensors").touch()
        assert not is_exported(program.parent)

    def test_every_file_of_the_program_must_be_listed(self, copy: Path):
        change(copy, files={})
        refused(copy, r"`files.model.\w+` is missing")

    def test_names_that_lead_upwards_are_refused(self, copy: Path, program: Path):
        shutil.copy(program, copy.parent)
        files = config_of(copy)["files"]
        change(copy, files=files | {f"../{program.name}": files[program.name]})
        refused(copy, "is not known here")

    @pytest.mark.parametrize(
        "put",
        [
            lambda path: path.mkdir(),
            lambda path: path.symlink_to(path.name),
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: os.mkfifo(path),
        ],
        ids=["folder", "loop", "device", "pipe"],
    )
    def test_what_is_no_file_is_not_read(self, program: Path, put: Callable[[Path], object]):
        program.unlink()
        put(program)
        refused(program.parent, f"{program.name} is missing; export it again")

    @pytest.mark.parametrize(
        "entries",
        [{"resolution": 1 << 14}, {"fidelity": 0.5}, {"guided": False}, {"takes_quality": False, "guided": False}],
        ids=str,
    )
    def test_a_config_of_another_export_is_found_before_it_runs(self, copy: Path, entries: dict[str, Any]):
        change(copy, restorer=config_of(copy)["restorer"] | entries)
        refused(copy, "takes .* but config.json beside it describes .*; export it again")

    def test_batches_are_as_the_program_has_them(self, copy: Path):
        change(copy, any_batch=False)
        refused(copy, "beside it describes")

    def test_a_scale_beyond_floats_is_refused(self, copy: Path):
        change(copy, restorer=config_of(copy)["restorer"] | {"scale": 1e299})
        refused(copy, "`restorer.scale`")

    def test_texts_that_are_long_do_not_fill_the_screen(self, copy: Path):
        for entries in ({"kind": "x" * 9999}, {"kind": "engine", "layout": 9, "version": "9" * 9999}):
            change(copy, **entries)
            assert len(refused(copy, "expected|a later one")) < 500


class TestSealed:
    """Damage whose checksum fits reaches the engines, which are written in C++."""

    @pytest.mark.parametrize("content", [b"", b"<html>503</html>", b"\x00" * 100, b"\x81\xff" * 99])
    def test_engines_print_nothing_themselves(self, program: Path, content: bytes, capfd: pytest.CaptureFixture[str]):
        program.write_bytes(content)
        seal(program.parent)
        refused(program.parent, f"{program.name} .*export it again")
        assert capfd.readouterr() == ("", "")

    def test_onnx_runtime_does_not_print_bytes_of_a_file(
        self, exports: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ):
        copy = shutil.copytree(exports["onnx"], tmp_path / "copy")
        content = (copy / "model.onnx").read_bytes()
        (copy / "model.onnx").write_bytes(content.replace(b"Sigmoid", b"Sigmo\x81d"))
        seal(copy)
        refused(copy, "cannot read")
        assert capfd.readouterr() == ("", "")

    def test_weights_that_are_cut_off(self, exports: dict[str, Path], tmp_path: Path):
        copy = shutil.copytree(exports["openvino"], tmp_path / "copy")
        (copy / "model.bin").write_bytes((copy / "model.bin").read_bytes()[:100])
        seal(copy)
        refused(copy, "cannot read .*model.xml")

    def test_a_program_that_fails_while_it_runs(self, exports: dict[str, Path], tmp_path: Path, lq: Tensor):
        copy = shutil.copytree(exports["onnx"], tmp_path / "copy")
        squeezed(copy / "model.onnx")
        seal(copy)
        engine = iqp.load(copy)
        with pytest.raises(ValueError, match="ONNX Runtime .* cannot run .*model.onnx") as refusal:
            engine.restore(lq)
        assert "\n" not in str(refusal.value)
        with pytest.raises(ValueError, match=r"gave \(3, 16, 16\) for \(1, 3, 16, 16\)"):
            engine.restore(lq[:1])

    def test_another_format_under_the_name_of_this_one(self, exports: dict[str, Path], copy: Path, program: Path):
        [other] = [path for name in FORMATS for path in exports[name].glob("model.[xo]*") if path.name != program.name]
        shutil.copy(other, program)
        seal(copy)
        refused(copy, "cannot read")


def squeezed(path: Path) -> None:
    """The program drops its first axis, which only a single picture has to give."""
    import onnx

    model = onnx.load(path)
    last = next(node for node in model.graph.node if "restored" in node.output)
    last.output[0] = "whole"
    axes = onnx.numpy_helper.from_array(torch.zeros(1, dtype=torch.int64).numpy(), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.append(onnx.helper.make_node("Squeeze", ["whole", "axes"], ["restored"]))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("restored", onnx.TensorProto.FLOAT, None))
    del model.graph.value_info[:]
    onnx.save(model, path)


class TestVersions:
    """Exports of other releases, of this library and of the engines."""

    @pytest.mark.parametrize("entries", [{"version": "0.0.1", "made_with": {}}, {"version": "99.0"}])
    def test_other_versions_of_the_same_layout_run(self, copy: Path, lq: Tensor, entries: dict[str, Any]):
        expected = iqp.load(copy).restore(lq, 0.3)
        change(copy, **entries)
        assert torch.equal(iqp.load(copy).restore(lq, 0.3), expected)

    def test_a_later_engine_is_named(self, copy: Path, program: Path):
        from_the_future(program)
        seal(copy)
        change(copy, made_with=dict.fromkeys(config_of(copy)["made_with"], "2099.1"))
        refused(
            copy, r"cannot read.*it was made with .*(openvino|onnxruntime) 2099.1: install that, or export it again"
        )

    def test_the_same_engine_is_not_advised(self, copy: Path, program: Path):
        from_the_future(program)
        seal(copy)
        assert "install that" not in refused(copy, "cannot read")

    def test_a_package_may_have_been_installed_by_another_name(self, monkeypatch: pytest.MonkeyPatch):
        def missing(name: str) -> str:
            raise metadata.PackageNotFoundError(name)

        version = version_of("onnxruntime")
        monkeypatch.setattr(formats.metadata, "version", missing)
        assert version_of("onnxruntime") == version  # as of onnxruntime-gpu


def from_the_future(program: Path) -> None:
    if program.suffix == ".xml":
        program.write_text(
            program.read_text().replace('type="Sigmoid" version="opset1"', 'type="Sigmoid" version="o99"')
        )
        return
    import onnx

    model = onnx.load(program)
    model.opset_import[0].version = 99
    onnx.save(model, program)


class TestMachines:
    """Exports on machines that are unlike the one that made them, and exporting where something is in the way."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(kept, "cache", lambda: tmp_path / "cache")
        return tmp_path / "cache"

    @pytest.fixture
    def old_processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openvino, "capabilities", lambda: ["FP32", "INT8"])

    def test_a_precision_that_is_not_here_is_no_damage(self, cache: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(openvino, "capabilities", lambda: ["FP32", "BF16"])
        iqp.load(Plain(), engine="openvino", precision="bf16")
        monkeypatch.setattr(openvino, "capabilities", lambda: ["FP32"])
        with pytest.raises(NotHereError, match="no bf16 .*precision fp32"):
            iqp.load(Plain(), engine="openvino", precision="bf16")
        assert list(cache.rglob("model.xml"))

    def test_a_precision_that_is_not_here_costs_no_minute(
        self, tmp_path: Path, old_processor: None, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.delattr("iqp_adapter.engines.export.trace")
        with pytest.raises(NotHereError, match="no fp16"):
            export(Plain(), tmp_path / "out", "openvino", "fp16")

    def test_auto_passes_over_what_this_machine_cannot_do(
        self, old_processor: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        monkeypatch.setattr(choice, "_table", lambda: {"Plain": [("openvino", "bf16"), ("torch", "fp32")]})
        assert iqp.load(Plain(), engine="auto").engine == "torch" and "no bf16" in caplog.text

    @pytest.mark.parametrize("free", [0, 300, 5000])
    def test_a_full_disk_is_said(self, cache: Path, format: str, free: int, full_disk: Any):
        with full_disk(free), pytest.raises(OSError, match="cannot keep an export of Plain .*set HF_HOME") as refusal:
            iqp.load(Plain(), engine=format)
        assert "\n" not in str(refusal.value) and not list((cache / "engines").iterdir())

    def test_auto_goes_on_without_a_disk(self, monkeypatch: pytest.MonkeyPatch, full_disk: Any, caplog: Any):
        monkeypatch.setattr(choice, "_table", lambda: {"Plain": [("openvino", "fp32")]})
        model = Plain()
        with full_disk(300):
            assert iqp.load(model, engine="auto") is model
        assert "cannot keep an export" in caplog.text

    def test_auto_goes_on_where_the_program_answers_otherwise(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(choice, "_table", lambda: {"Plain": [("onnx", "fp32")]})
        monkeypatch.setattr("iqp_adapter.engines.export.self_check", lambda *_: {"0.5": {"mean difference": 0.1}})
        model = Plain()
        assert iqp.load(model, engine="auto") is model
        with pytest.raises(NotExportableError, match="differs from torch"):
            iqp.load(model, engine="onnx")

    def test_two_at_once_make_one_export(self, cache: Path, monkeypatch: pytest.MonkeyPatch, lq: Tensor):
        made, restored = [], []

        def counted(*arguments: Any) -> Any:
            made.append(arguments)
            return export(*arguments)

        monkeypatch.setattr(kept, "export", counted)
        models = Plain(), Plain()  # here, since threads share the generator of their numbers
        threads = [Thread(target=lambda each=model: restored.append(load_kept(each, lq))) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1 and torch.equal(*restored) and len(list((cache / "engines").iterdir())) == 1

    def test_it_runs_on_when_the_cache_is_emptied(self, cache: Path, format: str, lq: Tensor):
        engine = iqp.load(Plain(), engine=format)
        expected = engine.restore(lq, 0.3)
        shutil.rmtree(cache)
        assert torch.equal(engine.restore(lq, 0.3), expected)

    def test_an_odd_name_of_a_folder(self, copy: Path, exports: dict[str, Path], format: str, lq: Tensor):
        odd = copy.rename(copy.with_name("\u00fc \u202e\x1b[31m [1]"))
        assert torch.equal(iqp.load(odd).restore(lq, 0.3), iqp.load(exports[format]).restore(lq, 0.3))


SIGNALLED = """
import signal, sys
from threading import Thread
import iqp_adapter as iqp

for end in ("in the order they came", "in another thread"):
    engines = [iqp.load(sys.argv[1]) for _ in range(2)]
    if end == "in another thread":
        thread = Thread(target=engines.clear)
        thread.start()
        thread.join()
    while engines:
        engines.pop(0)
    signal.signal(signal.SIGINT, lambda number, frame: print(end))
    signal.raise_signal(signal.SIGINT)
"""


def test_signals_are_handled_after_engines_are_gone(copy: Path):
    done = subprocess.run([sys.executable, "-c", SIGNALLED, copy], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["in the order they came", "in another thread"], (done.returncode, done.stderr)


def test_a_file_of_an_export_is_not_looked_for_elsewhere(program: Path):
    refused(program, f"give its folder, {program.parent}")


def test_an_export_is_not_exported_again(copy: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="run by .* already; give the model itself"):
        export(iqp.load(copy), tmp_path / "again", "onnx")


def load_kept(model: Plain, lq: Tensor) -> Tensor:
    return iqp.load(model, engine="onnx").restore(lq, 0.3)


def test_the_folder_of_a_faster_process_stays(tmp_path: Path):
    with (
        pytest.raises(FileExistsError, match="out exists and is not empty"),
        atomic_folder(tmp_path / "out") as partial,
    ):
        (partial / "file").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]


def test_commands_refuse_in_one_line(copy: Path, program: Path, tmp_path: Path):
    Image.new("RGB", (16, 16)).save(tmp_path / "face.png")
    program.write_bytes(b"\x1b[31mnothing")
    words = ("restore", tmp_path / "face.png", "-o", tmp_path / "out", "--model", copy, "--aligned")
    for _ in range(2):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1 and "copy" in result.output
        assert "\x1b" not in result.output and not (tmp_path / "out").exists()
        seal(copy)
