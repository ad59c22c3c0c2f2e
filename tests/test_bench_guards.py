"""The benchmark when names, pictures and programs are not as they should be: right numbers or one line."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_pieces import PEOPLE, brighter, folder_of, photo, samples_in
from no_memory import NO_MEMORY
from typer.testing import CliRunner

from iqp_adapter.bench.attempts import one_by_one
from iqp_adapter.bench.candidates import candidates, command, outputs, the_input
from iqp_adapter.bench.names import LONGEST, again, last_name, names_apart, plain
from iqp_adapter.bench.outputs import is_made_of, write_png
from iqp_adapter.bench.page import write_page
from iqp_adapter.bench.protocols import Measure, Protocol, SetMeasure
from iqp_adapter.bench.run import Benchmark, run
from iqp_adapter.bench.test_sets import Sample, by_stem, degraded, from_folder
from iqp_adapter.bench.writers import read_report, write_all
from iqp_adapter.cli import app
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.native import IQPFR, preset
from iqp_adapter.pictures import read_pixels

MEAN = Protocol("mean@native", False, "no-reference", lambda *_: Measure("mean", lambda a, *_: a.mean((1, 2, 3))))
POPULATION = Protocol(
    "fd@set", True, "set", lambda *_: SetMeasure("fd", lambda images: images.mean((2, 3)), (np.zeros(3), np.eye(3)))
)
COPY = "import sys, shutil; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"


def bench(*words: object):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


@pytest.fixture
def samples(tmp_path):
    return samples_in(tmp_path)


@pytest.fixture
def make(tmp_path, samples):
    def build(found=(), wanted=(MEAN,), **more):
        parts = {"candidates": [the_input(), *found], "samples": samples, "protocols": list(wanted)}
        return Benchmark(**parts | {"folder": tmp_path / "out"} | more)

    return build


def cut(file: Path) -> None:
    """Damages the pixels and leaves the header."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content[: len(content) * 3 // 4])


class TestNames:
    @pytest.mark.parametrize("end", ["..", ".", "sub/..", "./", "../faces/"])
    def test_the_last_name_of_any_path_is_a_name(self, tmp_path, monkeypatch, end):
        (tmp_path / "faces" / "sub").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "faces")
        assert last_name(Path(end)) == (tmp_path.name if end == ".." else "faces")

    def test_a_link_keeps_its_name_and_the_root_gets_one(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path)
        assert last_name(tmp_path / "link") == "link" and last_name(Path("/")) == "root"

    @pytest.mark.parametrize(
        "text", ["..", "", " ", "a/b", "/", "a\\b", "\0", "x\x1b[2J", "y" * 300, "\udcff", "é" * 99]
    )
    def test_any_text_becomes_one_part_of_a_path(self, tmp_path, text):
        name = plain(text)
        (tmp_path / name).mkdir()
        assert [path.name for path in tmp_path.iterdir()] == [name] and name.isprintable() and len(name) <= LONGEST

    def test_long_names_stay_apart(self):
        assert plain("y" * 300) != plain("y" * 299)

    def test_equal_names_get_their_folders(self):
        assert names_apart([Path("/a/faces"), Path("/b/Faces"), Path("x")]) == ["a-faces", "b-Faces", "x"]
        assert names_apart([Path("/a/x"), Path("/a/x")]) == ["x", "x"] and again(["x", "X", "y"]) == ["x", "X"]

    @pytest.mark.parametrize("option", ["--lq", "--hq"])
    def test_a_folder_named_by_dots_has_right_numbers_and_stays_inside(self, tmp_path, monkeypatch, option):
        place = folder_of(tmp_path / "w" / "faces", side=256)
        dark, out = tmp_path / "dark", tmp_path / "w" / "run" / "out"
        dark.mkdir()
        for file in place.iterdir():
            write_png(dark / file.name, read_pixels(file) // 2, "")
        (place / "cwd").mkdir()
        monkeypatch.chdir(place / "cwd")
        out.parent.mkdir()
        before = {file: file.read_bytes() for file in tmp_path.rglob("*.png")}
        words = ["--size", 256, "--model", f"dir: {dark}", "-m", "iqp-lite", "--device", "cpu", "-o", out]
        results = {}
        for given in ("..", str(place)):
            result = bench(option, given, *words)
            assert result.exit_code == 0, result.output
            report = read_report(out / "report.json")
            assert {picture.dataset for picture in report.pictures} == {"faces"}
            results[given] = report.values
            assert results[given]["dark"] != results[given]["input"]
        assert results[".."] == results[str(place)]
        outside = [file for file in tmp_path.rglob("*.png") if out not in file.parents]
        assert {file: file.read_bytes() for file in outside} == before

    @pytest.mark.parametrize("option", ["--lq", "--hq"])
    def test_two_folders_of_one_name_are_two_test_sets(self, tmp_path, option):
        for place, name in enumerate("ab"):
            folder_of(tmp_path / name / "faces", PEOPLE[2 * place :][:2], side=128)
        words = [word for name in "ab" for word in (option, tmp_path / name / "faces")]
        model = ["--model", f"dir: {tmp_path / 'both'}"]
        for name in "ab":
            shutil.copytree(tmp_path / name / "faces", tmp_path / "both" / f"{name}-faces")
        result = bench(*words, *model, "--size", 128, "-m", "iqp-lite", "--device", "cpu", "-o", tmp_path / "out")
        assert result.exit_code == 0, result.output
        pictures = read_report(tmp_path / "out" / "report.json").pictures
        assert [(picture.dataset, picture.name) for picture in pictures] == [
            ("a-faces", "ann_1"),
            ("a-faces", "ann_2"),
            ("b-faces", "bob_1"),
            ("b-faces", "cid_1"),
        ]

    def test_methods_of_one_name_are_two_rows(self, tmp_path, monkeypatch):
        for name in "ab":
            folder_of(tmp_path / name / "results")
        script = tmp_path / "b" / "results.py"
        script.touch()
        words = [f"dir: {tmp_path / 'a/results'}", f"dir: {tmp_path / 'b/results/'}"]
        assert [one.name for one in candidates(words)[1:]] == ["a-results", "b-results"]
        words[1] = f"cmd: {sys.executable} {script} {{input}} {{output}}"
        assert [one.name for one in candidates(words)[1:]] == ["a-results", "b-results"]
        monkeypatch.chdir(tmp_path / "a" / "results")
        assert candidates(["dir: ."])[1].name == "results"

    @pytest.mark.parametrize("wrong", ["..", "", "a/b", "."])
    def test_samples_of_a_program_must_have_names(self, make, samples, wrong):
        for change in ({"dataset": wrong}, {"name": wrong}):
            with pytest.raises(ValueError, match="is no name for a test set or picture; give one that is no path"):
                make(samples=[replace(samples[0], **change)])

    def test_stems_that_differ_in_case_alone_are_refused(self, tmp_path):
        folder_of(folder_of(tmp_path / "x", ["ann"]), ["Ann"], suffix=".jpg")
        with pytest.raises(ValueError, match=r"has Ann.jpg and ann.png; stems must be unique, upper and lower case"):
            by_stem(tmp_path / "x")

    def test_names_of_any_bytes_are_reported(self, make, tmp_path):
        strange = "a\udcffb=\x1b[2J<script>|"
        name = os.fsdecode(b"\xff_1")
        folder = folder_of(tmp_path / "strange", [name, "=1+1"])
        report = run(make([brighter(1.5, plain(strange))], samples=from_folder(folder)))
        files = write_all(report, tmp_path / "out")
        write_page(report, tmp_path / "out" / "report.html")
        assert read_report(tmp_path / "out" / "report.json").pictures == report.pictures
        assert "<script>|" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        rows = list(csv.DictReader((tmp_path / "out" / "pictures.csv").open(encoding="utf-8")))
        assert [row["picture"] for row in rows[:2]] == ["'=1+1", "\\udcff_1"]
        assert all("\x1b" not in file.read_text(encoding="utf-8") for file in files)


class TestBrokenPictures:
    @pytest.mark.parametrize("part", ["input", "original"])
    def test_a_broken_input_or_original_is_named_before_any_work(self, make, samples, part):
        cut(getattr(samples[1], part))
        candidate = brighter(1.5)
        with pytest.raises(OSError, match=r"1 test pictures cannot be read; .*(lq|gt)/ann_2.png"):
            run(make([candidate]))
        assert candidate.work.seen == []

    def test_the_command_names_it_in_one_line(self, cases, tmp_path):
        folder = tmp_path / "lq"
        shutil.copytree(cases / "04-broken-png", folder)
        (folder / "d_bad_exif.png").unlink()
        result = bench("--lq", folder, "--model", f"dir: {folder}", "--device", "cpu", "-o", tmp_path / "out")
        assert result.exit_code == 2 and "Traceback" not in result.output
        assert "b_broken.png" in result.output and len(result.output.strip().splitlines()) == 1

    def test_a_broken_output_costs_its_method_that_picture(self, make, samples, tmp_path):
        theirs = folder_of(tmp_path / "theirs")
        cut(theirs / "bob_1.png")
        report = run(make([outputs(theirs)], [MEAN, POPULATION]))
        values = report.values["theirs"]["mean@native"]
        assert values[2] is None and None not in values[:2] + values[3:]
        assert None not in report.values["input"]["mean@native"]
        assert list(report.methods[1].facts["pictures that failed"]) == ["set/bob_1"]
        assert "fd@set" not in report.set_values["theirs"] and "fd@set" in report.set_values["input"]
        assert report.images["theirs"][2] == ""
        files = write_all(report, tmp_path / "out")
        write_page(report, tmp_path / "out" / "report.html")
        assert "**Failed: theirs**: set/bob_1 (" in files[0].read_text(encoding="utf-8")

    def test_the_command_tells_of_it(self, tmp_path):
        lq, theirs = folder_of(tmp_path / "lq"), folder_of(tmp_path / "theirs")
        cut(theirs / "bob_1.png")
        result = bench(
            "--lq", lq, "--model", f"dir: {theirs}", "-m", "iqp-lite", "--device", "cpu", "-o", tmp_path / "o"
        )
        assert result.exit_code == 1 and "failed: theirs: lq/bob_1: " in result.output
        assert (tmp_path / "o" / "report.html").is_file()

    @pytest.mark.parametrize("error", [ValueError("no\nface"), OSError("gone"), NO_MEMORY["cpu"], NO_MEMORY["numpy"]])
    def test_a_model_that_fails_on_a_picture(self, make, error):
        def restore(sample: Sample) -> np.ndarray:
            if sample.name == "ann_2":
                raise error
            return read_pixels(sample.input)

        candidate = brighter(1.0, work=lambda samples: one_by_one(restore, samples))
        report = run(make([candidate]))
        assert report.methods[1].facts["pictures that failed"] == {"set/ann_2": " ".join(str(error).split())}
        mended = brighter(1.0)
        assert None not in run(make([mended])).values["x1"]["mean@native"] and mended.work.seen == ["ann_2"]

    @pytest.mark.parametrize(
        "error", [RuntimeError("kernel larger\nthan input"), AssertionError(), IndexError("3"), NO_MEMORY["numpy"]]
    )
    def test_a_metric_that_fails_on_a_picture(self, make, caplog, error):
        def values(restored, other, names):
            if names == ["bob_1"]:
                raise error
            return restored.mean((1, 2, 3))

        broken = Protocol("mean@native", False, "no-reference", lambda *_: Measure("mean", values))
        row = run(make([], [broken])).values["input"]["mean@native"]
        assert row[2] is None and None not in row[:2] + row[3:]
        assert [line.count("\n") for line in caplog.messages] == [0] and "bob_1.png" in caplog.text
        assert None not in run(make()).values["input"]["mean@native"]  # it was not kept as a picture without a value

    def test_a_model_that_fails_on_every_picture_ends_the_run(self, make):
        def restore(sample: Sample) -> np.ndarray:
            raise ValueError("it takes 512 px alone")

        candidate = brighter(1.0, work=lambda samples: one_by_one(restore, samples))
        with pytest.raises(OSError, match="x1 restores no test picture: it takes 512 px alone"):
            run(make([candidate]))

    def test_a_model_without_numbers_has_failed(self, make, monkeypatch):
        monkeypatch.setattr(IQPFR, "restore", lambda self, lq, **_: lq * float("nan"))
        with pytest.raises(OSError, match="restores no test picture: the model gave values that are no numbers"):
            run(make(candidates(["tiny"], qualities=["best"])[1:]))

    def test_a_damaged_output_of_ours_is_made_again(self, make, tmp_path):
        write_png(tmp_path / "x.png", photo(0), "source")
        assert is_made_of(tmp_path / "x.png", "source")
        content = bytearray((tmp_path / "x.png").read_bytes())
        content[len(content) // 2] ^= 255
        (tmp_path / "x.png").write_bytes(content)
        assert not is_made_of(tmp_path / "x.png", "source")
        write_png(tmp_path / "x.png", photo(0), "source")
        assert is_made_of(tmp_path / "x.png", "source")

    def test_a_broken_face_is_named(self, tmp_path):
        cut(folder_of(tmp_path / "faces") / "bob_1.png")
        with pytest.raises(OSError, match="bob_1.png"):
            degraded(tmp_path / "faces", tmp_path / "out", size=128)


class TestStale:
    def test_an_input_that_changes_during_the_run_is_told_and_never_kept(self, make, samples):
        def swapped(given):
            for sample in given:
                pixels = read_pixels(sample.input)
                if sample.name == "ann_2":
                    sample.input.write_bytes(samples[0].input.read_bytes())
                yield pixels

        with pytest.raises(OSError, match=r"lq/ann_2.png has changed during the run; start the same command again"):
            run(make([brighter(1.0, work=swapped)]))
        again = brighter(1.0)
        values = run(make([again])).values["x1"]["mean@native"]
        assert again.work.seen == ["ann_2", "bob_1", "cid_1"] and values[0] == values[1]

    def test_an_original_that_changes_while_it_is_judged_gives_no_number(self, make, samples):
        def values(restored, other, names):
            if names == ["bob_1"]:
                samples[2].original.write_bytes(samples[0].original.read_bytes())
            return (restored - other).mean((1, 2, 3))

        protocol = Protocol("near@native", False, "reference", lambda *_: Measure("near", values))
        with pytest.raises(OSError, match="has changed during the run"):
            run(make([], [protocol]))

    def test_other_settings_in_a_model_are_another_model(self, tmp_path):
        small = dict(resolution=64, widths=(16, 24, 32), common_codes=16, plus_codes=8, code_dim=8, dim=32, layers=1)
        size, scale = (
            preset("tiny-256", **small, heads=4, token_dim=16),
            ScoreScale.fit("iqp-lite", False, torch.linspace(0, 100, 11)),
        )
        model = IQPFR(size, scale)
        others = [IQPFR(size, scale, fidelity=0.9), IQPFR(replace(size, keep_colours=False), scale)]
        keys = set()
        for one in (model, *others):
            one.load_state_dict(model.state_dict())
            one.save_pretrained(tmp_path / "model")
            keys.add(candidates([str(tmp_path / "model")], qualities=["best"])[1].key)
        assert len(keys) == 3


def program(folder: Path, code: str, name: str = "method.py") -> str:
    (folder / name).write_text(f"import os, sys, time, shutil\n{code}\n", encoding="utf-8")
    return f"{sys.executable} {folder / name} {{input}} {{output}}"


class TestPrograms:
    def test_a_changed_program_is_run_again(self, make, tmp_path):
        first = run(make([command(program(tmp_path, COPY))])).values["method"]
        code = "from PIL import Image\nfor name in os.listdir(sys.argv[1]):\n    "
        code += "Image.open(f'{sys.argv[1]}/{name}').point(lambda x: 255 - x).save(f'{sys.argv[2]}/{name}')"
        second = run(make([command(program(tmp_path, code))])).values["method"]
        assert np.allclose(np.add(first["mean@native"], second["mean@native"]), 1, atol=1e-3)

    @pytest.mark.parametrize("word", ["--weights {}", "--weights={}", "{}"])
    def test_so_is_one_whose_file_has_changed(self, tmp_path, word):
        def key():
            return command(f"{program(tmp_path, COPY)} {word.format(tmp_path / 'w.pth')}").key

        (tmp_path / "w.pth").write_text("one")
        before = key()
        assert key() == before
        (tmp_path / "w.pth").write_text("another")
        assert key() != before

    def test_the_program_is_found_on_the_path(self, tmp_path, monkeypatch):
        tool = tmp_path / "bin" / "tool"
        tool.parent.mkdir()
        monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
        keys = []
        for text in ("#!/bin/sh\n", "#!/bin/sh\n:\n"):
            tool.write_text(text)
            tool.chmod(0o755)
            keys.append(command("tool {input} {output}").key)
        assert keys[0] != keys[1]

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("pass", r"4 \(ann_1, ann_2, bob_1, ...\) missing, 0 left over"),
            ("os.kill(os.getpid(), 11)", "was ended by the signal SIGSEGV: no output"),
            (
                "sys.stderr.buffer.write(b'\\xff\\xfe bad weights\\n'); sys.exit(3)",
                "ended with status 3: .* bad weights",
            ),
            ("sys.stdout.buffer.write(b'\\x1b[31mred\\xff\\r\\n'); sys.exit(1)", "ended with status 1: .31mred"),
            ("input('overwrite? ')", "ended with status 1: EOFError"),
            ("[print('x' * 1000) for _ in range(20000)]; sys.exit('enough')", "ended with status 1: enough$"),
        ],
    )
    def test_its_failures_are_one_line(self, make, tmp_path, code, said):
        with pytest.raises((OSError, ValueError), match=said) as caught:
            run(make([command(program(tmp_path, code))]))
        assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 800

    def test_a_broken_picture_of_it_is_a_failure_of_that_picture(self, make, tmp_path):
        code = f"{COPY}\nopen(sys.argv[2] + '/bob_1.png', 'w').write('no picture')"
        report = run(make([command(program(tmp_path, code))]))
        assert list(report.methods[1].facts["pictures that failed"]) == ["set/bob_1"]
        assert str(tmp_path) not in json.dumps(report.methods[1].facts)

    def test_one_that_hangs_is_ended_with_its_children(self, make, tmp_path):
        code = "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        code += f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{child.pid}} {{os.getpid()}}')\ntime.sleep(600)"
        with pytest.raises(TimeoutError, match=r"was stopped after 5 s; give it longer by --timeout"):
            run(make([command(program(tmp_path, code), seconds=0.5)]))
        time.sleep(0.2)
        assert not any(is_running(int(pid)) for pid in (tmp_path / "pids").read_text().split())

    def test_what_it_leaves_behind_does_not_hold_the_run(self, make, tmp_path):
        code = f"import subprocess\nsubprocess.Popen(['sleep', '600'])\n{COPY}"
        started = time.monotonic()
        run(make([command(program(tmp_path, code))]))
        assert time.monotonic() - started < 60

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("nobody {input} {output}", "no program 'nobody' that can be run"),
            ("sh 'x {input} {output}", "cannot be split into words: No closing quotation"),
            ("", "needs {input} and {output}"),
        ],
    )
    def test_what_is_no_command(self, text, said):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            command(text)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_it_goes_on_and_leaves_no_program(tmp_path, sent, status):
    lq = folder_of(tmp_path / "lq")
    text = program(tmp_path, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    words = [sys.executable, "-c", "from iqp_adapter.cli import app; app()", "bench", "--lq", lq, "-m", "iqp-lite"]
    process = subprocess.Popen(
        [*words, "--model", f"cmd: {text}", "-o", tmp_path / "out"], stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (tmp_path / "pid").is_file():
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert error.strip().splitlines()[-1] == "interrupted; the same command goes on from here"
    assert not is_running(int((tmp_path / "pid").read_text()))
