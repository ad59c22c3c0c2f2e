"""Ensembles of metrics: "mean(niqe, piqe)" as a scorer, a reward, a condition and a protocol."""

from __future__ import annotations

import csv
import json
import pickle
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from bench_pieces import folder_of
from torch import Tensor
from typer.testing import CliRunner

from iqp_adapter import ScoreScale
from iqp_adapter.bench.cache import Cache
from iqp_adapter.bench.candidates import the_input
from iqp_adapter.bench.judging import Judge
from iqp_adapter.bench.protocols import find
from iqp_adapter.bench.run import Benchmark, run
from iqp_adapter.bench.test_sets import from_folder
from iqp_adapter.cli import app
from iqp_adapter.core.metrics import canonical
from iqp_adapter.native import IQPFR, preset
from iqp_adapter.scoring import scales as stored
from iqp_adapter.scoring import scorer as scoring
from iqp_adapter.scoring.ensemble import Mean
from iqp_adapter.scoring.scorer import Scorer, reward_of

NAME = "mean(niqe, piqe, iqp-lite@1)"
CPU = torch.device("cpu")
SCALES = {
    "niqe": ScoreScale("niqe", True, (20.0, 10.0, 2.0)),
    "piqe": ScoreScale("piqe", True, (100.0, 50.0, 0.0)),
    "iqp-lite@1": ScoreScale("iqp-lite@1", False, (0.0, 60.0, 100.0)),
}


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Three different pictures, (3, 3, 128, 128)."""
    from skimage.data import astronaut

    whole = torch.from_numpy(astronaut().copy()).permute(2, 0, 1)[None] / 255  # (H, W, 3) -> (1, 3, H, W)
    return torch.cat([whole[..., :128, :128], whole[..., 60:188, 160:288], whole[..., -128:, -128:]])


@pytest.fixture(scope="module")
def ensemble() -> Scorer:
    return Scorer(" mean(niqe,piqe ,iqp-lite@1) ", device="cpu", scales=SCALES)


class Line:
    """A member whose score is a number of the picture, so that gradients are known."""

    metric = protocol = "line"
    lower_better, tiled, differentiable, smallest = False, True, True, 1

    def __call__(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, 0] * 8 - 4

    def to(self, device: torch.device | str) -> Line:
        return self


def test_it_is_the_mean_of_what_its_members_say_on_their_scales(ensemble, images):
    with torch.no_grad():
        parts = [scale.quality(Scorer(name, device="cpu")(images)) for name, scale in SCALES.items()]
        scores = ensemble(images)
    torch.testing.assert_close(scores, 100 * sum(parts) / 3)
    assert scores.unique().numel() == 3 and bool(((scores > 0) & (scores < 100)).all())
    assert ensemble.metric == NAME and not ensemble.lower_better


def test_by_minimum_and_maximum_it_is_the_mean_of_places_between_them(images):
    scorer = Scorer("minmax-mean(niqe,piqe ,iqp-lite@1)", device="cpu", scales=SCALES)
    with torch.no_grad():
        niqe, piqe, lite = (Scorer(name, device="cpu")(images) for name in SCALES)
        wanted = 100 * ((20 - niqe) / 18 + (100 - piqe) / 100 + lite / 100) / 3
        torch.testing.assert_close(scorer(images), wanted, rtol=1e-5, atol=1e-4)
    assert scorer.metric == "minmax-mean(niqe, piqe, iqp-lite@1)" and scorer.protocol.startswith("minmax-mean(")
    assert scorer.protocol != Scorer(NAME, device="cpu", scales=SCALES).protocol
    ends = {name: scale.ends() for name, scale in SCALES.items()}
    assert Scorer(scorer.metric, device="cpu", scales=ends).protocol == scorer.protocol


def test_one_member_by_minimum_and_maximum_is_a_scale_of_two_knots(ensemble, images):
    mixed = Scorer(NAME, device="cpu", scales=SCALES | {"piqe": SCALES["piqe"].ends()})
    with torch.no_grad():
        torch.testing.assert_close(mixed(images), ensemble(images))  # PIQE's stand-in is a straight line already
    assert mixed.protocol != ensemble.protocol


def test_it_is_no_more_than_its_members_are(ensemble):
    assert ensemble.tiled and not ensemble.differentiable  # PIQE has no gradient
    assert ensemble.smallest == 96
    with pytest.raises(ValueError, match="needs 96 a side"):
        ensemble(torch.rand(1, 3, 80, 200))
    with pytest.raises(ValueError, match="niqe has no score for"):
        ensemble(torch.full((1, 3, 96, 96), 0.5))
    pair = Scorer(
        "mean(niqe, iqp-lite@1)", device="cpu", scales={name: SCALES[name] for name in ("niqe", "iqp-lite@1")}
    )
    assert pair.differentiable and pair.tiled
    assert not Scorer(
        "mean(piqe, entropy)", device="cpu", scales={"entropy": ScoreScale("entropy", False, (0, 8))}
    ).tiled


def test_its_gradient_reaches_the_picture(images):
    pair = Scorer(
        "mean(niqe, iqp-lite@1)", device="cpu", scales={name: SCALES[name] for name in ("niqe", "iqp-lite@1")}
    )
    pixels = images[1:2].clone().requires_grad_()
    before = pair(pixels)
    [gradient] = torch.autograd.grad(before.sum(), pixels)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    with torch.no_grad():
        assert pair((pixels + 5e-4 * gradient.sign()).clamp(0, 1)) > before


@pytest.mark.parametrize("quantiles", [(-2.0, 2.0), (-2.0, -2.0, -2.0, 2.0, 2.0), (0.0, 0.0), (-2.0, 1.0, 1.0, 2.0)])
def test_beyond_its_scale_a_member_stays_and_has_no_gradient(quantiles):
    ladder = torch.arange(33) / 32  # scores from -4 to 4, with the very quantiles among them
    pixels = ladder[:, None, None, None].expand(33, 3, 4, 4).clone().requires_grad_()
    scores = Mean([Line()], [ScoreScale("line", False, quantiles)])(pixels)
    [gradient] = torch.autograd.grad(scores.sum(), pixels)
    raw = Line()(pixels).detach()
    beyond = (raw < quantiles[0] - 1e-4) | (raw > quantiles[-1] + 1e-4)
    assert gradient.isfinite().all() and gradient.abs().max() < 1e3
    assert beyond.any() and not gradient[beyond].any()
    assert (scores[raw < quantiles[0]] == 0).all() and (scores[raw > quantiles[-1]] == 100).all()
    assert (scores.diff() >= 0).all()
    if quantiles == (-2.0, 2.0):
        assert gradient[(raw > -1.9) & (raw < 1.9), 0, 0, 0].all()


def test_copies_and_pickles_score_alike(ensemble, images):
    expected = ensemble(images)
    for copy in (deepcopy(ensemble), pickle.loads(pickle.dumps(ensemble))):
        assert torch.equal(copy(images), expected)


def test_every_member_has_a_device_of_its_own(monkeypatch, ensemble):
    monkeypatch.setattr(scoring, "device_of", torch.device)  # as if this machine had it
    monkeypatch.setattr("torch.nn.Module.to", lambda self, _: self)
    moved = deepcopy(ensemble).to("mps")
    assert moved.device.type == "mps"
    assert [member.device.type for member in moved._network.members] == ["cpu", "mps", "mps"]


def test_its_protocol_tells_members_and_scales(ensemble):
    parts = [Scorer(name, device="cpu").protocol for name in SCALES]
    assert ensemble.protocol.startswith(f"mean({', '.join(parts)})/")
    same = Scorer(NAME, device="cpu", scales=SCALES)
    other = Scorer(NAME, device="cpu", scales=SCALES | {"piqe": ScoreScale("piqe", True, (100.0, 50.0, 1.0))})
    assert same.protocol == ensemble.protocol != other.protocol


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mean(niqe, nique)", {}, "unknown metric 'nique'; nearest: "),
        ("mean(niqe, iqp-lite@9)", {}, "unknown metric 'iqp-lite@9'; of iqp-lite there are iqp-lite@1"),
        ("mean(niqe, mean(piqe, niqe))", {}, "is an ensemble in an ensemble"),
        ("mean(niqe, niqe)", {}, "has niqe twice"),
        ("mean(niqe)", {}, "needs two or more members"),
        (
            "mean(niqe, entropy)",
            {},
            r'^entropy has no stored score scale \(stored: .*niqe.*\); pass one: Scorer\("mean\(niqe, entropy\)", '
            r'scales={"entropy": ScoreScale\(...\)}\), or --scales FILE.json$',
        ),
        (
            "minmax-mean(niqe, topiq_nr-face-v1)",
            {},
            r"topiq_nr-face-v1 has no stored .*; pass one: "
            r'Scorer\("minmax-mean\(niqe, topiq_nr-face-v1\)", scales={"topiq_nr-face-v1": '
            r'named_scale\("ffhq/topiq-face"\)}\), or --scales FILE.json$',
        ),
        (
            "mean(niqe, piqe)",
            {"scales": {"nique": SCALES["niqe"]}},
            "a scale for nique, which is no member; members are",
        ),
        ("mean(niqe, piqe)", {"scales": {"niqe": SCALES["piqe"]}}, "for niqe is of another metric .piqe, lower is"),
        (
            "mean(niqe, piqe)",
            {"scales": {"niqe": ScoreScale("niqe", False, (0, 1))}},
            "for niqe is of another metric .niqe, higher is better.; give one of niqe, lower is better",
        ),
        ("mean(niqe, piqe)", {"weights": "w"}, "takes neither weights nor options"),
        ("mean(niqe, piqe)", {"color_space": "yiq"}, "takes neither weights nor options"),
        (
            "niqe",
            {"scales": {"niqe": SCALES["niqe"]}},
            "niqe takes no scales, which are for the members of an ensemble",
        ),
    ],
)
def test_what_is_no_ensemble_is_said_in_one_line(name, options, message, topiq):
    with pytest.raises(ValueError, match=message) as error:
        Scorer(name, device="cpu", **options)
    assert "\n" not in str(error.value)


def test_the_stored_scales_are_those_of_their_names():
    known = stored.stored_scales()
    assert {"niqe", "piqe", "iqp-lite@1"} <= set(known)
    assert all(scale.metric == name and len(scale.quantiles) == 101 for name, scale in known.items())
    assert Scorer("mean(niqe, piqe)", device="cpu").protocol.endswith(
        f")/{stored.digest_of(known['niqe'], known['piqe'])}"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"metric": "piqe"}, "s.json: the scale for niqe is one of piqe; give it its own name"),
        ({"quantiles": [1, 2]}, "s.json: quantiles of niqe must run from worst to best"),
        ({"more": 1}, "s.json: 'more' is not known here"),
        ({"lower_better": 1}, "s.json: `lower_better` is 1, expected true or false"),
    ],
)
def test_a_file_of_scales_is_checked(tmp_path, entry, message):
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"niqe": {"source": "faces", **SCALES["niqe"].to_dict()} | entry}))
    with pytest.raises(ValueError, match=message):
        stored.scales_in(file)


def test_a_file_may_name_a_published_scale(tmp_path):
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"topiq_nr-face-v1": "ffhq/topiq-face", "niqe": SCALES["niqe"].to_dict()}))
    assert stored.scales_in(file) == {
        "topiq_nr-face-v1": stored.named_scale("ffhq/topiq-face"),
        "niqe": SCALES["niqe"],
    }
    file.write_text(json.dumps({"topiq_nr-face": "ffhq/topiq-face"}))
    with pytest.raises(ValueError, match="ffhq/topiq-face is of topiq_nr-face-v1, and the metric is topiq_nr-face: "):
        stored.scales_in(file)


def test_it_is_a_reward(images, ensemble):
    with pytest.raises(ValueError, match=r"mean\(niqe, piqe, iqp-lite@1\) has no gradient and cannot be optimised"):
        reward_of(ensemble, "cpu", differentiable=True)
    assert torch.equal(reward_of(ensemble, "cpu", differentiable=False)(images), ensemble(images))


def test_models_raise_it_and_are_conditioned_on_it(tmp_path):
    sizes = {"widths": [8, 8], "common_codes": 8, "plus_codes": 8, "code_dim": 4, "dim": 16, "layers": 1, "heads": 2}
    sizes |= {"resolution": 128, "patch": 8, "fused_levels": [0], "encoder_blocks": 1, "decoder_blocks": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = IQPFR(preset("tiny-256", **sizes), ScoreScale("mean(niqe,iqp-lite)", False, (0.0, 100.0))).eval()
    model.save_pretrained(tmp_path)
    loaded = IQPFR.from_pretrained(tmp_path)
    assert loaded.conditioned_on == model.conditioned_on and loaded.conditioned_on[0].startswith("mean(niqe, iqp-lite@")
    lq = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert model.best_of(lq, "mean(niqe, iqp-lite@1)", samples=2).shape == lq.shape
    assert model.optimise(lq, "mean(niqe, iqp-lite@1)", steps=1).isfinite().all()


def test_it_is_a_protocol_of_the_benchmark(tmp_path):
    samples = from_folder(folder_of(tmp_path / "faces", side=128))
    protocols = [find("mean( niqe,piqe )"), find("mean(niqe, piqe)@native"), find("mean(niqe, piqe)@96"), find("niqe")]
    protocols.append(find("minmax-mean(niqe, piqe)"))
    assert [one.id for one in protocols[:3]] == [*["mean(niqe, piqe)@native"] * 2, "mean(niqe, piqe)@96"]
    assert protocols[1].label == "mean(niqe, piqe)" and not protocols[1].trained_on and not protocols[1].lower_better
    assert "iqp-lite" in find("mean(niqe, iqp-lite)").trained_on
    raised = frozenset({"mean(piqe, entropy)"})
    report = run(Benchmark([the_input()], samples, protocols[1:], tmp_path / "out", device=CPU, raised=raised))
    values = report.values["input"]
    assert [column.optimised for column in report.columns] == [True, True, False, True]
    assert values["minmax-mean(niqe, piqe)@native"] != values["mean(niqe, piqe)@native"]
    assert 0 <= values["mean(niqe, piqe)@native"][0] <= 100
    assert values["mean(niqe, piqe)@native"] != values["mean(niqe, piqe)@96"]


def test_the_scales_of_an_ensemble_are_in_the_key_of_its_values(monkeypatch, tmp_path):
    def key() -> str:
        return Judge(find("mean(niqe, piqe)"), CPU, Cache(tmp_path)).key

    before = key()
    assert key() == before
    monkeypatch.setattr(stored, "stored_scales", lambda: {name: SCALES[name] for name in ("niqe", "piqe")})
    assert key() != before


def test_the_script_makes_scales_and_keeps_those_of_others(tmp_path):
    from benchmarks.scorer.make_scales import main

    faces, file = folder_of(tmp_path / "faces", ("a_1", "b_1")), tmp_path / "scales.json"
    main(faces, ["piqe"], size=96, draws=3, output=file)
    main(faces, ["iqp-lite"], size=96, draws=3, output=file)
    made = stored.scales_in(file)
    assert list(made) == ["piqe", canonical("iqp-lite")] and len(made["piqe"].quantiles) == 101
    assert made["piqe"].lower_better and made["piqe"].quantiles[0] > made["piqe"].quantiles[-1]
    source = json.loads(file.read_text())["piqe"]["source"]
    assert source.startswith("3 draws of 2 faces at 96 px, half under the ladder and half degraded")


class TestCommand:
    @pytest.fixture
    def photos(self, tmp_path) -> Path:
        return folder_of(tmp_path / "photos", ("a_1", "b_1"), side=128)

    def score(self, *words: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["score", *map(str, words), "--device", "cpu"], env={"COLUMNS": "200"})
        return result.exit_code, " ".join(result.output.split())

    def test_it_is_scored_cached_and_written(self, photos, tmp_path, monkeypatch):
        words = [photos, "-m", "mean(niqe,  piqe)", "-m", "piqe", "--cache", tmp_path / "cache"]
        code, output = self.score(*words, "--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json")
        assert code == 0 and "mean(niqe, piqe) ↑" in output
        [first, _] = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8")))
        assert (
            list(first) == ["file", "mean(niqe, piqe)", "piqe", "error"]
            and 0 <= float(first["mean(niqe, piqe)"]) <= 100
        )
        report = json.loads((tmp_path / "t.json").read_text())
        assert report["metrics"]["mean(niqe, piqe)"]["protocol"].startswith("mean(pyiqa-")
        assert report["files"][0]["scores"]["mean(niqe, piqe)"] == float(first["mean(niqe, piqe)"])
        monkeypatch.setattr(Scorer, "__call__", lambda *_: pytest.fail("scored again"))
        assert self.score(*words)[0] == 0

    def test_scales_of_a_file_make_another_protocol(self, photos, tmp_path):
        file = tmp_path / "scales.json"
        file.write_text(json.dumps({name: scale.to_dict() for name, scale in SCALES.items()}))
        words = [photos / "a_1.png", "-m", "mean(niqe, piqe)", "--cache", tmp_path / "cache"]
        assert self.score(*words)[0] == self.score(*words, "--scales", file, "--json", tmp_path / "t.json")[0] == 0
        protocol = json.loads((tmp_path / "t.json").read_text())["metrics"]["mean(niqe, piqe)"]["protocol"]
        assert (
            protocol
            == Scorer("mean(niqe, piqe)", device="cpu", scales={n: SCALES[n] for n in ("niqe", "piqe")}).protocol
        )
        code, output = self.score(photos, "--scales", file)
        assert code == 2 and "--scales is for ensembles, like 'mean(niqe, piqe)', and iqp-lite@" in output

    def test_a_missing_scale_is_said_in_one_line(self, photos):
        code, output = self.score(photos, "-m", "mean(niqe, entropy)")
        assert code == 2 and "entropy has no stored score scale" in output and "--scales FILE.json" in output


class TestPublishedScale:
    """`iqp score --scale ffhq/...`."""

    def score(self, *words: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["score", *map(str, words), "--device", "cpu"], env={"COLUMNS": "200"})
        return result.exit_code, " ".join(result.output.split())

    def test_it_shows_the_quality_by_its_metric_alone(self, tmp_path, topiq):
        photos, report = folder_of(tmp_path / "photos", ("a_1", "b_1"), side=128), tmp_path / "t.json"
        words = [photos, "-m", "topiq_nr-face-v1", "-m", "piqe", "--cache", tmp_path / "cache"]
        code, output = self.score(*words, "--scale", "ffhq/topiq-face", "--json", report)
        assert code == 0 and output.count("quality by 'ffhq/topiq-face'") == 1
        said = json.loads(report.read_text())
        scale = stored.named_scale("ffhq/topiq-face")
        assert said["metrics"]["topiq_nr-face-v1"]["scale"] == {
            "name": "ffhq/topiq-face",
            "sha256": stored.digest_of(scale),
        }
        assert "scale" not in said["metrics"]["piqe"]
        for file in said["files"]:
            score = torch.tensor(file["scores"]["topiq_nr-face-v1"], dtype=torch.float64)
            assert file["quality"] == {"topiq_nr-face-v1": pytest.approx(float(scale.quality(score)))}
        assert "quality by" not in self.score(*words)[1]

    @pytest.mark.parametrize(
        ("metric", "scale", "words"),
        [
            ("topiq_nr-face", "ffhq/topiq-face", "topiq_nr-face learned from CGFIQA"),
            ("piqe", "ffhq/musiq-gfiqa", "is of musiq-gfiqa, and the metric is piqe; leave the scale out"),
            ("piqe", "ffhq/qalign", "FFHQ's scores by Q-Align were not published as a table; there are ffhq/"),
            ("musiq-gfiqa", "ffhq/musiq-gfiqa", "musiq-gfiqa scores no picture: the weights of MUSIQ-GFIQA are not"),
        ],
    )
    def test_one_of_another_metric_is_refused_with_the_reason(self, tmp_path, topiq, metric, scale, words):
        photos = folder_of(tmp_path / "photos", ("a_1",), side=128)
        code, output = self.score(photos, "-m", metric, "--scale", scale, "--cache", tmp_path / "cache")
        assert code == 2 and words in output
