"""The judges of the benchmarks, their intervals and claims: right direction, right uncertainty, nothing hidden."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn.functional import avg_pool2d, interpolate
from typer import BadParameter

from benchmarks.common import results
from benchmarks.common.judges import JUDGES, panel_of
from benchmarks.common.sheets import GAP, write_sheet
from benchmarks.native import conditioning, dial, paper_size, photos, second_metric
from iqp_adapter.bench import protocols
from iqp_adapter.bench.claims import Comparison, claim, claims_list
from iqp_adapter.bench.curves import dial_result
from iqp_adapter.bench.intervals import Interval, People, interval, person_of, spearman
from iqp_adapter.bench.panel import Panel
from iqp_adapter.bench.protocols import Protocol, find
from iqp_adapter.bench.text import write_json
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.native import IQPFR, Tokenizer, preset
from iqp_adapter.provenance import placeless
from iqp_adapter.store import checkpoint
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch, PredictionStage

SMALL = preset(
    "tiny-256", resolution=128, widths=(16, 24, 32), common_codes=16, plus_codes=8, code_dim=8, dim=32, layers=1,
    heads=4, token_dim=16,
)  # fmt: skip
PEOPLE = ["ann", "ann", "bob", "bob"]


def small_model(condition: bool = True) -> IQPFR:
    torch.manual_seed(0)
    scale = ScoreScale.fit("iqp-lite", False, torch.linspace(0, 100, 11))
    return IQPFR(preset("tiny-256", **SMALL.to_dict() | {"condition": condition}), scale).eval()


@pytest.fixture(scope="module")
def face():
    """A sharp picture (1, 3, 256, 256) in [0, 1]."""
    from skimage.data import astronaut

    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[None] / 255  # (H, W, 3) -> (1, 3, H, W)
    return interpolate(photo[..., :256, 96:352], (256, 256))


@pytest.fixture
def album(face, tmp_path):
    """A folder with two pictures of each of two people."""
    from PIL import Image

    (tmp_path / "faces").mkdir()
    for place, name in enumerate(("ann_1", "ann_2", "bob_1", "bob_2")):
        pixels = (face[0].roll(40 * place, 2) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / "faces" / f"{name}.png")
    return tmp_path / "faces"


class TestPeople:
    def test_more_pictures_of_the_same_people_are_no_more_evidence(self):
        values, people = np.arange(6.0), list("abcdef")
        assert People(people * 5).interval(np.tile(values, 5)) == pytest.approx(People(people).interval(values))

    def test_many_people_give_the_interval_of_the_formula(self):
        values = np.random.default_rng(1).normal(3, 2, 400)
        mean, low, high = People([str(i) for i in range(400)]).interval(values)
        half = 1.96 * values.std() / 20
        assert (mean, low, high) == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.02)

    def test_people_with_more_pictures_weigh_more(self):
        people = People(["a", "b", "b", "b"])
        means = people.means(np.array([0.0, 1.0, 1.0, 1.0]))
        assert people.interval(np.array([0.0, 1.0, 1.0, 1.0])).mean == 0.75
        assert set(means.round(6)) == {0.0, 0.75, 1.0}

    def test_differences_are_paired(self):
        values = np.random.default_rng(0).normal(0, 10, 4)
        assert People(PEOPLE).interval((values + 1) - values) == pytest.approx((1, 1, 1))

    def test_the_seed_decides(self):
        values = np.random.default_rng(0).normal(size=20)
        one, same, other = (People(list(map(str, range(20))), seed=seed).interval(values) for seed in (0, 0, 1))
        assert one == same != other

    def test_one_person_has_no_interval(self):
        with pytest.raises(ValueError, match="all pictures show ann; .* two or more"):
            People(["ann", "ann"])


@pytest.mark.parametrize(
    ("name", "person"), [("london_009_03.jpg", "london_009"), ("a/ann_1.png", "ann"), ("solo.png", "solo")]
)
def test_the_person_is_in_the_name(name, person):
    from pathlib import Path

    assert person_of(Path(name)) == person


def test_spearman_is_scipys():
    values = np.random.default_rng(0).integers(0, 6, (9, 5)).astype(float)
    expected = [spearmanr(np.arange(9), column)[0] for column in values.T]
    np.testing.assert_allclose(spearman(values), expected, atol=1e-9)
    assert spearman(np.ones(9)) == 0


class TestPanel:
    def test_every_judge_prefers_the_original(self, face):
        panel = panel_of([name for name in JUDGES if name != "iqp-colour"])  # it does not see blur
        noise = 0.002 * torch.randn(face.shape, generator=torch.Generator().manual_seed(0))
        pictures = torch.cat([face + noise, avg_pool2d(face, 7, 1, 3)]).clamp(0, 1)
        scores = panel(pictures, face.expand(2, -1, -1, -1))
        wrong = [name for name in panel.judges if panel.gain(name, *scores[name]) <= 0]
        assert wrong == []
        assert set(panel.judges) | set(panel.skipped) | {"iqp-colour"} == set(JUDGES)

    def test_judges_of_colour_prefer_right_colours(self, face):
        panel = panel_of(["iqp-colour", "ciede2000", "colourfulness", "uciqe"])
        pictures = torch.cat([face, 0.5 * (face + face.mean(1, keepdim=True))])
        scores = panel(pictures, face.expand(2, -1, -1, -1))
        assert all(panel.gain(name, *scores[name]) > 0 for name in panel.judges)

    def test_what_shares_anything_with_a_loss_or_the_scorer_is_marked(self):
        panel = panel_of(["iqp-lite", "psnr", "ssim"])
        assert {name for name, judge in JUDGES.items() if judge.trained_on} == {
            "iqp-lite", "iqp-lite@1", "iqp-colour", "psnr", "perceptual-lite0", "vif", "nlpd", "ciede2000"
        }  # fmt: skip
        assert [panel.label(name) for name in panel.judges] == ["iqp-lite ↑ †", "psnr ↑ †", "ssim ↑"]
        assert panel.describe()["psnr"]["trained_on"]
        assert "iqp-lite/v" in panel.describe()["iqp-lite"]["protocol"]

    def test_a_batch_changes_nothing(self, face):
        panel = panel_of(["niqe", "ssim", "perceptual-lite2"])
        pictures = torch.cat([face, face.flip(3), avg_pool2d(face, 3, 1, 1)])
        original = face.expand(3, -1, -1, -1)
        together, alone = panel(pictures, original), panel(pictures, original, batch=1)
        for name in panel.judges:
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-4, atol=1e-5)

    def test_only_some_may_be_asked(self, face):
        assert list(panel_of(["psnr", "gmsd"])(face, face * 0.9, only=["gmsd"])) == ["gmsd"]

    def test_a_judge_that_is_not_installed_is_named(self, monkeypatch):
        monkeypatch.setattr(protocols.base, "find_spec", lambda name: None)
        panel = panel_of(["psnr", "identity"])
        assert list(panel.judges) == ["psnr"]
        assert panel.describe()["identity"] == {"skipped": "dlib, openpibo_dlib_models not installed"}
        assert "Skipped: identity, dlib" in panel.table("Title", {"row": {"psnr": Interval(1, 0, 2)}})

    def test_a_judge_that_cannot_be_loaded_is_named_with_the_reason(self, face):
        def load(device, files):
            raise OSError("no weights here")

        panel = Panel({"psnr": find("psnr"), "broken": Protocol("broken@native", False, "reference", load)})
        assert list(panel(face, face * 0.9)) == ["psnr"]
        assert panel.skipped == {"broken": "no weights here"}


class TestIdentity:
    def test_a_picture_is_embedded_once(self):
        seen = []
        embed = protocols.Remembered(lambda images: seen.append(len(images)) or images.mean((2, 3)))
        one, other = torch.rand(2, 1, 3, 4, 4)
        torch.testing.assert_close(embed(torch.cat([one, other, one])), torch.cat([one, other, one]).mean((2, 3)))
        torch.testing.assert_close(embed(other), other.mean((2, 3)))
        assert seen == [2]

    def test_it_tells_unseen_people_apart(self, faces):
        if missing := JUDGES["identity"].missing:
            pytest.skip(f"needs the extra identity ({', '.join(missing)})")
        from iqp_adapter.pictures import read_tensor

        one, smiling, other = (
            read_tensor(faces / "dev" / f"london_{take}.jpg") for take in ("009_03", "009_08", "019_03")
        )
        same, alike, strange = panel_of(["identity"])(torch.stack([one, smiling, other]), one.expand(3, -1, -1, -1))[
            "identity"
        ]
        assert same == 0 < alike < 0.4 < 0.5 < strange


class TestDial:
    RISING = np.linspace(0, 1, 9)[:, None] + np.random.default_rng(0).normal(0, 0.01, (9, 4))

    def test_a_rising_dial_holds(self):
        result = dial_result(self.RISING, People(PEOPLE))
        assert result["holds"]
        assert result["spearman"].mean > 0.99
        assert result["top - bottom"].mean == pytest.approx(1, abs=0.05)

    def test_a_falling_dial_does_not(self):
        assert not dial_result(-self.RISING, People(PEOPLE))["holds"]

    def test_one_that_rises_for_some_people_only_does_not(self):
        result = dial_result(self.RISING * [3, 3, -1, -1], People(PEOPLE))
        assert result["spearman"].mean > 0.9
        assert not result["holds"]

    @pytest.mark.parametrize(
        ("order", "correlation"), [([1, 2, 0, 4, 5, 3, 6, 7, 8], 0.9), ([1, 2, 0, 4, 5, 3, 7, 6, 8], 0.883333)]
    )
    def test_the_least_correlation_that_holds_is_nine_tenths_whatever_the_rounding(self, order, correlation):
        result = dial_result(self.RISING[order], People(PEOPLE))
        assert result["spearman"].mean == pytest.approx(correlation, abs=1e-6)
        assert result["holds"] == (correlation == 0.9)

    def test_one_that_goes_to_and_fro_does_not(self):
        result = dial_result(self.RISING[[0, 3, 1, 5, 2, 7, 4, 6, 8]], People(PEOPLE))
        assert result["top - bottom"].low > 0
        assert not result["holds"]


class TestComparison:
    @pytest.fixture
    def comparison(self):
        return Comparison(panel_of(["psnr", "gmsd"]), People(PEOPLE))

    def test_lower_is_better_where_it_is(self, comparison):
        low, high = {"gmsd": np.full(4, 0.1)}, {"gmsd": np.full(4, 0.2)}
        assert comparison.better("low beats high", "gmsd", low, high)["holds"]
        assert not comparison.better("high beats low", "gmsd", high, low)["holds"]
        assert not comparison.better("a draw", "gmsd", low, low)["holds"]

    def test_every_judge_of_the_panel_has_its_claim(self, comparison):
        near, far = ({"psnr": np.full(4, psnr), "gmsd": np.full(4, 0.1)} for psnr in (30.0, 20.0))
        claims = comparison.better_by_all("near beats far", near, far)
        assert [(one["claim"], one["holds"]) for one in claims] == [
            ("near beats far on psnr ↑ †", True), ("near beats far on gmsd ↓", False)
        ]  # fmt: skip

    def test_quality_is_compared_where_nearness_is_equal(self, comparison):
        theirs = {"psnr": np.full(4, 25.0), "gmsd": np.full(4, 0.2)}

        def ours():
            for weight, psnr, gmsd in ((0.5, 24.0, 0.1), (0.75, 25.5, 0.15)):
                yield weight, {"psnr": np.full(4, psnr), "gmsd": np.full(4, gmsd)}
            raise AssertionError("no fidelity beyond the first that is near enough")

        result = comparison.better_at_equal("psnr", "best beats any", "gmsd", ours(), theirs)
        assert result["holds"]
        assert "by psnr (fidelity 0.75)" in result["claim"]
        assert result["gain"].mean == pytest.approx(0.05)

    def test_never_near_enough_does_not_hold(self, comparison):
        far = {"psnr": np.full(4, 20.0), "gmsd": np.full(4, 0.0)}
        result = comparison.better_at_equal("psnr", "best beats any", "gmsd", [(1.0, far)], {"psnr": np.full(4, 25.0)})
        assert not result["holds"]
        assert "does not hold" in claims_list([result])
        assert "farther at every fidelity" in claims_list([result])


class TestReport:
    def test_json_is_rounded_and_finite(self, tmp_path):
        write_json(tmp_path / "new" / "r.json", {"gain": Interval(1 / 3, 0, 1), "levels": np.array([0.1, 0.2])})
        assert json.loads((tmp_path / "new" / "r.json").read_text()) == {
            "gain": {"mean": 0.333333, "low": 0.0, "high": 1.0}, "levels": [0.1, 0.2]
        }  # fmt: skip
        with pytest.raises(ValueError, match="JSON compliant"):
            write_json(tmp_path / "nan.json", {"value": float("nan")})
        assert not (tmp_path / "nan.json").exists()

    def test_in_json_an_interval_is_a_line(self, tmp_path):
        rows = {f"a method of a long name, {place}": {"piqe": Interval(1, 0, 2), "ways": []} for place in range(3)}
        write_json(tmp_path / "r.json", {"host": "toy", "rows": rows})
        text = (tmp_path / "r.json").read_text()
        assert json.loads(text)["rows"].keys() == rows.keys()
        first = '  "a method of a long name, 0": {"piqe": {"mean": 1, "low": 0, "high": 2}, "ways": []},'
        assert text.splitlines()[:4] == ["{", ' "host": "toy",', ' "rows": {', first]

    def test_the_command_names_no_place_of_this_machine(self, monkeypatch, album):
        script = results.ROOT / "benchmarks" / "native" / "dial.py"
        monkeypatch.setattr("sys.argv", [str(script), "--model", "tiny", "--faces", str(album), "-o", "/not/yet/there"])
        command = results.provenance(0)["command"]
        assert command.startswith("python -m benchmarks.native.dial --model tiny --faces ")
        assert command.endswith("/faces -o yet/there")
        assert str(album.parent.parent) not in command

    def test_provenance_names_data_and_weights(self, album, tmp_path):
        small_model().save_pretrained(tmp_path / "model")
        facts = results.provenance(0, album, model=tmp_path / "model", unconditioned=None)
        assert facts["data"]["pictures"], facts["data"]["people"] == (4, 2)
        assert list(facts["weights"]) == ["model"]
        assert {len(facts["data"]["sha256"]), len(facts["weights"]["model"])} == {64}

    def test_a_claim_holds_above_zero_only(self):
        assert claim("", Interval(1, 0.1, 2))["holds"]
        assert not claim("", Interval(1, -0.1, 2))["holds"]


class TestConditioning:
    @pytest.fixture
    def pictures(self):
        return torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    def test_every_score_moves_to_another_picture(self):
        values = torch.arange(7.0)
        moved = conditioning.shuffled(values, 0)
        assert sorted(moved.tolist()) == values.tolist()
        assert not (moved == values).any()
        assert not torch.equal(moved, conditioning.shuffled(values, 1))

    def test_its_loss_is_the_one_of_stage_two(self, pictures):
        model, tokenizer, quality = small_model(), Tokenizer(SMALL).eval(), torch.tensor([0.2, 0.7, 0.9])
        codes = conditioning.wanted_codes(tokenizer, pictures, quality, batch=2)
        losses = conditioning.code_losses(model, pictures, quality, codes, batch=2)
        last = conditioning.code_losses(model, pictures[2:], quality[2:], tuple(x[2:] for x in codes))
        stage = PredictionStage(StageConfig(1, 3, 1e-3), torch.nn.Identity(), model, tokenizer)
        scales = SampleScales((), torch.zeros(3).long())
        batch = Batch(pictures, pictures, quality, [1, 2, 3], scales, torch.ones(3).bool())
        with torch.no_grad():
            terms = stage.code_terms(model.predict(pictures, quality[:, None]), batch)
        assert losses[:, 2] == pytest.approx(last[:, 0], rel=1e-5)
        assert losses.mean(1) == pytest.approx([float(terms["common"]), float(terms["plus"])], rel=1e-5)


def test_parts_add_up():
    counts = paper_size.parameters(small_model())
    assert sum(count for part, count in counts.items() if part != "all") == counts["all"]
    assert paper_size.peak_memory() > 50


def test_a_sheet_has_its_columns(tmp_path):
    from PIL import Image

    write_sheet(tmp_path / "sheet.png", {"dark": torch.zeros(2, 3, 64, 64), "light": torch.full((2, 3, 64, 64), 0.8)})
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 64 + GAP, 20 + 2 * 64 + GAP)
        assert (sheet.getpixel((5, 100)), sheet.getpixel((100, 100))) == ((0, 0, 0), (204, 204, 204))


def test_photos_of_others_stay_outside(root):
    with pytest.raises(BadParameter, match="inside the repository"):
        photos.main("tiny", root / "nowhere", root / "benchmarks")


def test_the_second_metric_must_be_chosen_before(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run python -m benchmarks\.native\.second_metric first"):
        second_metric.chosen(tmp_path)


@pytest.mark.slow
def test_the_benchmarks_run(album, tmp_path, monkeypatch):
    small_model().save_pretrained(tmp_path / "run" / "stage2" / "model")
    tokenizer = Tokenizer(SMALL)
    checkpoint.save(tmp_path / "run" / "stage1" / "model", tokenizer.state_dict(), {"tokenizer": SMALL.to_dict()})
    model, out = str(tmp_path / "run" / "stage2" / "model"), tmp_path / "out"
    monkeypatch.setattr(dial, "CONTEXT", ("psnr",))
    second_metric.main(album, seeds=1, resolution=128, out=out)
    dial.main(model, [album], seeds=1, out=out)
    conditioning.main(tmp_path / "run", album, seeds=1, out=out)
    names = {"second_metric", "dial", "conditioning"}
    written = {name: json.loads((out / f"{name}.json").read_text()) for name in names}
    [of] = written["dial"]["sets"].values()
    assert len(of["curves"]["psnr"]) == len(written["dial"]["levels"]) == 9
    assert not of["holds"]  # no dial was learned
    assert [written[name]["data"]["people"] for name in ("second_metric", "conditioning")] == [2, 2]
    assert len(list(out.glob("dial-*.png"))) == 1


def test_an_interval_is_the_middle_of_its_resamples():
    assert interval(0.0, np.arange(1001.0)) == (0.0, 25.0, 975.0)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("/home/me/runs/one", "runs/one"),
        ("name:128:/home/me/runs/one", "name:128:runs/one"),
        ("set=/home/me/faces/dev", "set=faces/dev"),
        ("https://host.org/some/long/path", "https://host.org/some/long/path"),
        ("C:/Users/me/faces", "C:/Users/me/faces"),
    ],
)
def test_paths_keep_their_last_two_names_wherever_they_stand(said, kept):
    assert placeless(said) == kept
