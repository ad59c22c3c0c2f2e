"""The run: nothing is done twice, what cannot be run is reported, and numbers are those of the metrics."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_pieces import PEOPLE, Brighter, brighter, folder_of, samples_in
from torch import nn

from iqp_adapter.bench import protocols
from iqp_adapter.bench.candidates import INPUT, candidates, command, outputs, the_input
from iqp_adapter.bench.protocols import Measure, Protocol, find
from iqp_adapter.bench.run import Benchmark, run, take_folder
from iqp_adapter.bench.selection import select
from iqp_adapter.bench.test_sets import from_folder
from iqp_adapter.core.metrics import canonical
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.hosts.wrap import wrap
from iqp_adapter.native import IQPFR, preset
from iqp_adapter.pictures import read_pixels, read_tensor

CPU = torch.device("cpu")


class Counting:
    """A metric that counts how often it is built and asked."""

    def __init__(self, kind: protocols.Kind = "no-reference", error: Exception | None = None) -> None:
        self.built, self.asked, self.error = 0, [], error
        self.protocol = Protocol(f"counting/{kind}@native", False, kind, self.load)

    def load(self, device, files):
        if self.error:
            raise self.error
        self.built += 1
        return Measure("counting", self.values)

    def values(self, restored, other, names):
        self.asked += names
        return (restored - other).mean((1, 2, 3)) if self.protocol.kind != "no-reference" else restored.mean((1, 2, 3))


@pytest.fixture
def samples(tmp_path):
    return samples_in(tmp_path)


@pytest.fixture
def make(tmp_path, samples):
    def build(found=(), wanted=(), **more):
        parts = {"candidates": [the_input(), *found], "samples": samples, "protocols": list(wanted)}
        return Benchmark(**parts | {"folder": tmp_path / "out"} | more)

    return build


class TestNumbers:
    def test_they_are_those_of_the_metric_on_the_file(self, make, samples):
        report = run(make([brighter(1.5)], [find("psnr"), find("niqe")]))
        psnr, niqe = (find(name).load(CPU, []) for name in ("psnr", "niqe"))
        for place, sample in enumerate(samples):
            file = make().folder / report.images["x1.5"][place]
            np.testing.assert_array_equal(read_pixels(file), (read_pixels(sample.input) * 1.5).astype(np.uint8))
            picture, original = read_tensor(file)[None], read_tensor(sample.original)[None]
            values = report.values["x1.5"]
            assert values["psnr/rgb@native"][place] == pytest.approx(float(psnr.values(picture, original, [])))
            assert values["niqe/basicsr@native"][place] == pytest.approx(float(niqe.values(picture, picture, [])))

    @pytest.mark.parametrize(("kind", "other"), [("reference", "original"), ("input", "input")])
    def test_each_kind_compares_with_its_own(self, make, samples, kind, other):
        report = run(make([brighter(1.5)], [Counting(kind).protocol]))
        for place, sample in enumerate(samples):
            expected = read_pixels(sample.input) * 1.5 // 1 - read_pixels(getattr(sample, other))
            value = report.values["x1.5"][f"counting/{kind}@native"][place]
            assert value == pytest.approx(expected.mean() / 255, abs=1e-4)

    def test_a_set_has_one_value(self, make, samples):
        report = run(make([brighter(2.0)], [find("fd")]))
        near, far = (report.set_values[name]["fd/efficientnet-lite0@originals"] for name in ("x2", "input"))
        assert 0 < near < far
        assert report.values["x2"] == {} and report.methods[0].facts["N"] == 4

    def test_the_picture_of_the_input_is_the_input(self, make, samples):
        report = run(make())
        assert list(report.images) == ["input", "original"]
        np.testing.assert_array_equal(
            read_pixels(make().folder / report.images["input"][2]), read_pixels(samples[2].input)
        )

    def test_a_metric_that_draws_gives_the_same_again_and_leaves_the_generators_alone(self, make, tmp_path):
        drawing = Protocol("drawing@native", False, "no-reference", lambda *_: Measure("", lambda *_: torch.rand(1)))
        torch.manual_seed(3)
        before = torch.rand(1), torch.manual_seed(3)
        report = run(make([], [drawing]))
        assert len(set(report.values["input"]["drawing@native"])) == 1
        assert torch.rand(1) == before[0]


class TestAgain:
    def test_a_second_run_computes_nothing(self, make):
        metric, first = Counting(), brighter(1.5)
        report = run(make([first], [metric.protocol, find("fd")]))
        assert (metric.built, len(metric.asked), first.work.seen) == (1, 8, sorted(PEOPLE))

        def refuse(*_):
            raise AssertionError("computed again")

        frozen = [replace(metric.protocol, load=refuse), replace(find("fd"), load=refuse)]
        again = run(make([replace(first, work=refuse)], frozen))
        assert again.values == report.values and again.set_values == report.set_values
        assert again.methods == report.methods

    def test_a_new_metric_restores_nothing(self, make):
        one = brighter(1.5)
        run(make([one], [Counting().protocol]))
        run(make([one], [Counting().protocol, Counting("reference").protocol]))
        assert one.work.seen == sorted(PEOPLE)

    def test_a_new_candidate_costs_itself_alone(self, make):
        metric = Counting()
        run(make([brighter(1.5)], [metric.protocol]))
        run(make([brighter(1.5), brighter(2.0)], [metric.protocol]))
        assert len(metric.asked) == 12

    def test_other_weights_and_other_inputs_are_restored_again(self, make, samples):
        run(make([brighter(1.5, "net")], []))
        other = brighter(2.0, "net")
        run(make([other], []))
        assert len(other.work.seen) == 4
        again = brighter(2.0, "net")
        samples[1].input.write_bytes(samples[0].input.read_bytes())
        report = run(make([again], [Counting().protocol]))
        assert again.work.seen == [samples[1].name]
        values = report.values["net"]["counting/no-reference@native"]
        assert values[0] == values[1]

    def test_what_was_done_before_a_kill_is_kept(self, make):
        metric, broken, whole = Counting(), brighter(1.5, work=Brighter(1.5, last=2)), brighter(1.5)
        with pytest.raises(KeyboardInterrupt):
            run(make([broken], [metric.protocol]))
        report = run(make([whole], [metric.protocol]))
        assert broken.work.seen + whole.work.seen == sorted(PEOPLE)
        fresh = run(make([brighter(1.5)], [metric.protocol], folder=make().folder.parent / "fresh"))
        assert report.values == fresh.values

    def test_scores_before_a_kill_are_kept(self, make):
        metric = Counting()

        def dying(restored, other, names):
            if len(metric.asked) == 3:
                raise KeyboardInterrupt
            return Counting.values(metric, restored, other, names)

        with pytest.raises(KeyboardInterrupt):
            run(make([], [replace(metric.protocol, load=lambda *_: Measure("", dying))]))
        run(make([], [metric.protocol]))
        assert sorted(metric.asked) == sorted(PEOPLE)

    def test_a_half_written_picture_is_made_again(self, make):
        report = run(make([brighter(1.5)], []))
        file = make().folder / report.images["x1.5"][0]
        file.unlink()
        again = brighter(1.5)
        run(make([again], []))
        assert again.work.seen == [sorted(PEOPLE)[0]] and file.is_file()


class TestNotRun:
    @pytest.mark.parametrize("error", [OSError("no weights at x"), ImportError("no package x"), ValueError("not x")])
    def test_a_protocol_that_can_not_be_built_is_a_column_with_a_reason(self, make, error):
        lost, kept = Counting("input", error), Counting()
        report = run(make([brighter(1.5)], [lost.protocol, kept.protocol]))
        assert [bool(column.skipped) for column in report.columns] == [True, False]
        assert report.columns[0].skipped == str(error)
        assert lost.protocol.id not in report.values["x1.5"] and kept.protocol.id in report.values["x1.5"]

    def test_files_that_are_nowhere_are_the_reason(self, make, monkeypatch, tmp_path):
        monkeypatch.setenv("IQP_WEIGHTS", str(tmp_path))
        [column] = run(make([], [find("deg")])).columns
        assert "needs resnet18_110.pth from https://drive.google.com" in column.skipped

    def test_weights_of_the_user_that_do_not_fit_are_an_error(self, make, tmp_path):
        torch.save({"some.weight": torch.ones(1)}, tmp_path / "wrong.pth")
        with pytest.raises(ValueError, match="does not fit ResNetArcFace"):
            run(make([], [find("idd")], weights={find("idd").id: [tmp_path / "wrong.pth"]}))

    def test_weights_of_the_user_are_said(self, make, tmp_path):
        (tmp_path / "mine.pth").write_bytes(b"mine")
        metric = Counting()
        report = run(make([], [metric.protocol], weights={metric.protocol.id: [tmp_path / "mine.pth"]}))
        said = report.environment["protocols"][metric.protocol.id]["files"]
        assert list(said) == ["mine.pth"] and len(said["mine.pth"]) == 64
        (tmp_path / "mine.pth").write_bytes(b"other")
        run(make([], [metric.protocol], weights={metric.protocol.id: [tmp_path / "mine.pth"]}))
        assert metric.built == 2

    def test_without_originals_what_needs_them_is_not_run(self, make, samples):
        bare = [replace(sample, original=None) for sample in samples]
        report = run(make([], [find("psnr"), find("fd"), Counting().protocol], samples=bare))
        assert [column.skipped for column in report.columns] == [
            "needs originals, and the test pictures have none",
            "needs originals, and not every test picture has one",
            "",
        ]
        assert "original" not in report.images

    def test_some_originals_give_some_values(self, make, samples):
        mixed = [replace(samples[0], original=None), *samples[1:]]
        report = run(make([], [Counting("reference").protocol], samples=mixed))
        values = report.values["input"]["counting/reference@native"]
        assert values[0] is None and None not in values[1:]
        assert report.methods[0].facts["pictures without a value"] == {"counting/reference@native": 1}

    @pytest.mark.parametrize("none", [math.nan, ValueError("it is constant")])
    def test_a_picture_without_a_value_is_counted_and_remembered(self, make, caplog, none):
        metric = Counting()

        def values(restored, other, names):
            metric.asked += names
            if names == ["bob_1"]:
                if isinstance(none, float):
                    return torch.tensor([none])
                raise none
            return torch.ones(1)

        protocol = replace(metric.protocol, load=lambda *_: Measure("", values))
        for _ in range(2):
            with caplog.at_level(logging.WARNING):
                report = run(make([], [protocol]))
            assert report.values["input"][protocol.id] == [1, 1, None, 1]
        assert len(metric.asked) == 4
        assert ("it is constant" in caplog.text) == isinstance(none, ValueError)


class TestRefused:
    def test_an_output_of_another_size(self, make):
        cropped = brighter(1.0, work=lambda samples: (read_pixels(sample.input)[:64] for sample in samples))
        with pytest.raises(ValueError, match=r"x1 made 128 x 64 px of .*ann_1.png, which has 128 x 128 px"):
            run(make([cropped], []))

    def test_a_baseline_that_is_no_row(self, make):
        with pytest.raises(ValueError, match="no candidate 'nobody' to be the baseline; there are input"):
            run(make(baseline="nobody"))

    def test_two_pictures_of_one_name(self, make, samples):
        with pytest.raises(ValueError, match="two test pictures are set/ann_1; rename the folder"):
            run(make(samples=[*samples, samples[0]]))

    def test_a_folder_of_something_else(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").touch()
        with pytest.raises(FileExistsError, match="is not empty and holds no benchmark"):
            take_folder(tmp_path / "mine")
        take_folder(tmp_path / "new")
        (tmp_path / "new" / "report.md").touch()
        take_folder(tmp_path / "new")


class TestChoice:
    def test_a_raised_metric_brings_its_companions(self):
        ids = [protocol.id for protocol in select(["iqp-lite"], [], {"iqp-lite"}, originals=True)]
        assert ids[0] == "iqp-lite@native" and {"niqe/basicsr@native", "identity/dlib"} < set(ids)
        blind = [protocol.id for protocol in select(["iqp-lite"], [], {"iqp-lite"}, originals=False)]
        assert "identity/dlib@input" in blind and "identity/dlib" not in blind

    def test_any_version_of_what_a_model_is_conditioned_on_is_raised(self, make):
        found = select(["iqp-lite@1", "mean(niqe, iqp-lite)", "psnr"], [], {"iqp-lite@1"}, originals=True)
        raised = [protocol.is_raised_by({"iqp-lite@7"}) for protocol in found[:3]]
        assert raised == [True, True, False] and "identity/dlib" in [protocol.id for protocol in found]
        assert find("niqe").is_raised_by({"mean(niqe, piqe)"}) and not find("iqp-lite").is_raised_by({"iqp-colour"})

    def test_a_companion_is_not_raised_itself(self):
        ids = [protocol.id for protocol in select(["iqp-lite"], [], {"iqp-lite", "niqe"}, originals=True)]
        assert "niqe/basicsr@native" not in ids and "identity/dlib" in ids

    def test_without_a_raised_metric_there_is_what_was_named(self):
        assert [protocol.id for protocol in select(["psnr"], [], set(), originals=True)] == ["psnr/rgb@native"]

    def test_a_score_brings_its_metrics(self):
        ids = {protocol.id for protocol in select([], ["ntire2025"], set(), originals=False)}
        assert {"fid/vqfr", "qalign/one-align@native", "identity/adaface-ir50@ntire"} < ids

    def test_an_unknown_score(self):
        with pytest.raises(ValueError, match="unknown score 'ntire'; there are ntire2025"):
            select([], ["ntire"], set(), originals=True)

    def test_what_is_raised_is_marked_in_the_report(self, make):
        metric = Counting()
        report = run(make([], [metric.protocol, find("psnr")], raised=frozenset({"counting"})))
        assert [column.optimised for column in report.columns] == [True, False]
        assert report.companions[metric.protocol.id]["held out"] == []


COPY = "import sys, shutil; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"


class TestCommands:
    def test_a_folder_goes_in_and_a_folder_comes_out(self, make, samples):
        copy = command(f'{sys.executable} -c "{COPY}" {{input}} {{output}}')
        report = run(make([copy], [find("psnr")]))
        assert report.values[copy.name] == report.values["input"]

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            (f"{COPY}; import pathlib; pathlib.Path(sys.argv[2], 'bob_1.png').unlink()", r"1 \(bob_1\) missing"),
            (f"{COPY}; shutil.copy(sys.argv[2] + '/ann_1.png', sys.argv[2] + '/x.png')", r"0 missing, 1 \(x\) left o"),
        ],
    )
    def test_a_missing_output_and_one_too_many_are_errors(self, make, code, said):
        with pytest.raises(ValueError, match=said):
            run(make([command(f'{sys.executable} -c "{code}" {{input}} {{output}}')], []))

    def test_its_failure_is_told_by_its_last_line(self, make):
        code = "import sys; sys.exit('out of memory')"
        with pytest.raises(OSError, match="ended with status 1: out of memory"):
            run(make([command(f'{sys.executable} -c "{code}" {{input}} {{output}}')], []))

    def test_it_must_name_both_folders(self):
        with pytest.raises(ValueError, match="needs {input} and {output}"):
            command("python restore.py {input}")


class TestOutputs:
    def test_stored_ones_are_taken_by_their_stems(self, make, tmp_path):
        theirs = outputs(folder_of(tmp_path / "theirs", PEOPLE, suffix=".bmp"))
        report = run(make([theirs], [find("psnr")]))
        assert min(report.values["theirs"]["psnr/rgb@native"]) > 60

    @pytest.mark.parametrize(("names", "said"), [(PEOPLE[:2], "2 .* missing"), ((*PEOPLE, "x"), r"1 \(x\) left over")])
    def test_they_must_match(self, make, tmp_path, names, said):
        with pytest.raises(ValueError, match=said):
            run(make([outputs(folder_of(tmp_path / "theirs", names))], []))

    def test_of_several_test_sets_they_are_in_folders(self, make, tmp_path):
        for name in ("one", "two"):
            folder_of(tmp_path / "sets" / name)
        both = from_folder(tmp_path / "sets")
        with pytest.raises(ValueError, match="has outputs of 2 test sets; give it a folder for each: one, two"):
            run(make([outputs(folder_of(tmp_path / "flat"))], [], samples=both))
        assert run(make([outputs(tmp_path / "sets")], [Counting().protocol], samples=both)).values["sets"]


SMALL = dict(
    resolution=128,
    widths=(16, 24, 32),
    common_codes=16,
    plus_codes=8,
    code_dim=8,
    dim=32,
    layers=1,
    heads=4,
    token_dim=16,
)


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scale = ScoreScale.fit("iqp-lite", False, torch.linspace(0, 100, 11))
        model = IQPFR(preset("tiny-256", **SMALL), scale).eval()
    folder = tmp_path_factory.mktemp("models") / "small"
    model.save_pretrained(folder)
    return model, folder


class TestModels:
    def test_a_native_one_restores_at_every_quality(self, make, native, samples):
        model, folder = native
        found = candidates([str(folder)], qualities=["best", "0"])[1:]
        assert [(one.name, one.model, one.quality) for one in found] == [
            ("small, best", "small", "best"),
            ("small, 0", "small", "0"),
        ]
        report = run(make(found, []))
        for name, quality in (("small, best", "best"), ("small, 0", 0.0)):
            made = read_pixels(make().folder / report.images[name][1])
            expected = model.restore(read_tensor(samples[1].input)[None], quality=quality)[0].permute(1, 2, 0) * 255
            np.testing.assert_array_equal(made, expected.round().byte().numpy())
        assert found[0].conditioned_on == (canonical("iqp-lite"),)
        assert report.methods[1].facts["parameters"] == sum(p.numel() for p in model.parameters())

    def test_its_key_is_that_of_weights_and_settings(self, native):
        _, folder = native

        def keys(**settings):
            return [one.key for one in candidates([str(folder)], **settings)[1:]]

        assert keys() == keys()
        everything = {*keys(), *keys(fidelity=0.9), *keys(scale=2.0), *keys(qualities=["0.5"])}
        assert len(everything) == 7

    def test_a_host_is_there_bare_and_with_its_adapter(self, make, samples, tmp_path, monkeypatch):
        from tiny_hosts import TINY_HOSTS

        tiny = TINY_HOSTS["codeformer-official"]
        wrapped = wrap(tiny.build(), kind=tiny.kind, scales=[ScoreScale.fit("niqe", True, torch.linspace(0, 20, 11))])
        for parameter in wrapped.parameters():
            nn.init.normal_(parameter, std=0.3)
        wrapped.save_pretrained(tmp_path / "adapter")
        for module in ("loader", "hosts.wrapped"):  # no file has this size
            monkeypatch.setattr(f"iqp_adapter.{module}.load_host", lambda source, *form, **options: tiny.build())
        found = candidates(["some/codeformer.pth"], [str(tmp_path / "adapter")], ["best"])
        assert [one.name for one in found] == ["input", "codeformer", "codeformer + adapter, best"]
        assert found[1].conditioned_on == () and found[2].conditioned_on == ("niqe",)
        assert found[1].facts["parameters"] < found[2].facts["parameters"]
        report = run(make(found, []))
        bare = read_pixels(make().folder / report.images["codeformer"][0])
        expected = wrap(tiny.build(), kind=tiny.kind).restore(read_tensor(samples[0].input)[None], quality=None)
        np.testing.assert_array_equal(bare, (expected[0].permute(1, 2, 0) * 255).round().byte().numpy())
        assert not np.array_equal(bare, read_pixels(make().folder / report.images[found[2].name][0]))

    def test_an_adapter_needs_a_host(self, native):
        with pytest.raises(ValueError, match="no host for the adapter some/adapter"):
            candidates([str(native[1])], ["some/adapter"])

    def test_a_quality_that_is_none(self, native):
        with pytest.raises(ValueError, match="quality is 'high'; use a number in"):
            candidates([str(native[1])], qualities=["high"])

    def test_two_of_one_name(self, native):
        with pytest.raises(ValueError, match="two rows would be named 'small, best'"):
            candidates([str(native[1])] * 2)

    def test_the_first_row_is_the_input(self):
        assert [one.name for one in candidates([])] == [INPUT]


SHARED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
from bench_pieces import brighter
from iqp_adapter.bench.candidates import the_input
from iqp_adapter.bench.protocols import find
from iqp_adapter.bench.run import Benchmark, run
from iqp_adapter.bench.test_sets import from_folder
if __name__ == "__main__":
    torch.set_num_threads(1)
    candidate = brighter(1.5)
    samples = from_folder(Path({place!r}, "lq"), Path({place!r}, "gt"))
    report = run(Benchmark([the_input(), candidate], samples, [find("psnr")], Path({place!r}, "out")))
    Path({place!r}, "seen" + sys.argv[-1] + str(report is None)).write_text(" ".join(candidate.work.seen))
    if report is not None:
        print(report.values["x1.5"]["psnr/rgb@native"])
"""


@pytest.mark.slow
def test_processes_share_the_pictures(tmp_path, root):
    samples_in(tmp_path)
    script = tmp_path / "shared.py"
    script.write_text(SHARED.format(tests=str(root / "tests"), place=str(tmp_path)))
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), "-"]
    together = subprocess.run(launch, env=environment, capture_output=True, text=True, check=True, cwd=root)
    seen = {file.name: file.read_text().split() for file in Path(tmp_path).glob("seen*")}
    assert sorted(seen["seen-False"] + seen["seen-True"]) == sorted(PEOPLE) and len(seen["seen-True"]) == 2
    alone = subprocess.run([sys.executable, script, "-"], env=environment, capture_output=True, text=True, check=True)
    assert together.stdout.splitlines()[-1] == alone.stdout.splitlines()[-1]
