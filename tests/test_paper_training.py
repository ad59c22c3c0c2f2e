"""Training of the authors' model: its presets, both stages, and the codes of targets that are computed once."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from iqp_adapter.core.metrics import canonical
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.degradations.face import HeavyDegradation
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.loader import load
from iqp_adapter.native import IQPFR, IQPFRConfig, preset
from iqp_adapter.native.iqpir import IQPIR, IQPIRConfig, IQPIRTokenizer
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.training import base_run, losses
from iqp_adapter.training.augmentation import Augmentation
from iqp_adapter.training.config import StageConfig, TrainConfig
from iqp_adapter.training.dataset import FaceFolder
from iqp_adapter.training.native_stages import CODES, commonest
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch, CodebookStage, ScorePredictionStage, SummedCodebookStage
from iqp_adapter.training.stages.codebooks import Reconstruction
from iqp_adapter.training.stages.score_prediction import WAYS, through_latent
from iqp_adapter.training.target_codes import KeptCodes, TargetCodes

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {
    "resolution": 64, "widths": [32, 32, 32, 32], "blocks": 1, "code_dim": 16, "codes": 12,
    "dim": 32, "mlp": 32, "layers": 1, "heads": 4,
}  # fmt: skip
PLAIN = {"rotation": 0, "scale": [1, 1], "shift": 0, "brightness": 0, "contrast": 0, "saturation": 0, "tint": 0}
SCALE = ScoreScale(canonical("iqp-lite"), False, (20.0, 50.0, 60.0))


def config(steps: int = 6, **changes) -> TrainConfig:
    stage = StageConfig(steps, batch=2, rate=1e-3, warmup=0, fall_to=1, decay=0)
    stages = {"stage1": replace(stage, options={"adversarial_from": 3}), "stage2": replace(stage)}
    settings = {"preset": "paper", "stages": stages, "changes": SMALL, "precision": "fp32", "save_every": 2}
    targets = {"ladder": {"originals": 1}, "augmentation": PLAIN, "degradation": {"kind": "heavy"}}
    return TrainConfig(**settings | targets | changes)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(base_run, "DRAWS", 8)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Crops of scikit-image's astronaut, some of them soft."""
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("faces")
    for place in range(5):
        crop = Image.fromarray(astronaut()[8 * place : 8 * place + 200, 100:300]).resize((64 - 12 * place,) * 2)
        crop.resize((64, 64)).save(folder / f"{place}.png")
    return folder


def every_term(steps: int) -> TrainConfig:
    settings = config(steps, optimised="latent")
    second = replace(settings.stages["stage2"], options={"quality_from": 3})
    return replace(settings, stages=settings.stages | {"stage2": second})


@pytest.fixture(scope="module")
def finished(faces, tmp_path_factory):
    """Both stages with every term."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_run, "DRAWS", 8)
        run = NativeTraining(every_term(6), faces, tmp_path_factory.mktemp("run"))
        run.run()
    return run.folder


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return IQPIRTokenizer(preset("paper", **SMALL))


@pytest.fixture
def model(tokenizer):
    built = IQPIR(tokenizer.config, score_scale=SCALE.of_positions())
    built.adopt(tokenizer)
    return built


@pytest.fixture
def batch():
    hq, lq = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    scales = SampleScales((SCALE,), torch.zeros(3, dtype=torch.long))
    return Batch(hq, lq, torch.tensor([0.02, 0.5, 0.9]), [1, 2, 3], scales, torch.ones(3).bool())


def terms_of(stage, batch, step=0):
    """The terms of the first model, with their graph."""
    return next(stage.updates(batch, step))[1]


def first_stage(tokenizer, **options) -> SummedCodebookStage:
    return SummedCodebookStage(StageConfig(9, 2, 1e-3, options=options), ByDifference(), tokenizer)


class ByDifference(nn.Module):
    """A perceptual distance that needs no network."""

    def forward(self, restored, hq):
        return (restored - hq).square().mean()


def second_stage(model, tokenizer, way=through_latent, scorer=None, **options) -> ScorePredictionStage:
    settings = StageConfig(9, 2, 1e-3, options=options)
    return ScorePredictionStage(settings, nn.Identity(), model, TargetCodes(tokenizer), scorer, way)


def brightness(pictures):
    return 10 * pictures.mean((1, 2, 3))


class TestPreset:
    def test_paper_is_the_model_of_the_authors_and_ours_of_that_size_has_a_name_of_its_own(self):
        assert preset("paper") == IQPIRConfig()
        ours = preset("iqpfr-512")
        assert isinstance(ours, IQPFRConfig) and ours.widths == preset("paper").widths and ours.grid == 16

    def test_the_fidelity_path_follows_the_levels(self):
        assert preset("paper").fused == preset("paper", resolution=512).fused == (32, 64, 128, 256)
        assert preset("paper", resolution=128, widths=[32, 32, 64, 64]).fused == (32, 64)
        assert preset("paper", resolution=256, fused=[64]).fused == (64,)

    def test_settings_of_ours_are_refused_with_the_name_of_ours(self):
        with pytest.raises(ValueError, match="preset paper has no patch: it is the authors' model; .* is iqpfr-512"):
            preset("paper", patch=2)

    def test_a_saved_model_of_ours_does_not_depend_on_names(self, tmp_path):
        sizes = {"resolution": 32, "patch": 2, "widths": [16], "code_dim": 8, "fused_levels": [0], "layers": 1}
        small = preset("iqpfr-512", **sizes, dim=32, heads=4, token_dim=16, common_codes=8, plus_codes=8)
        IQPFR(small).save_pretrained(tmp_path)
        assert IQPFR.from_pretrained(tmp_path).config == small


class TestRun:
    @pytest.mark.parametrize(
        ("stage", "kind", "besides"),
        [
            ("stage1", SummedCodebookStage, {"common_codes", "plus_codes", "adaptive_weight"}),
            ("stage2", ScorePredictionStage, set()),
        ],
    )
    def test_a_stage_has_the_terms_that_it_declares_and_leaves_its_record(self, finished, stage, kind, besides):
        assert set().union(*rows(finished / stage)) - besides - {"step"} == set(kind.term_names)
        assert {"curves.png", "step_000006.png", "model"} <= {path.name for path in (finished / stage).iterdir()}

    def test_what_is_trained_restores_and_takes_its_scores_from_the_metric(self, finished):
        model = load(finished / "stage2" / "model")
        assert isinstance(model, IQPIR)
        dial = model.dial.scale
        assert model.conditioned_on == (canonical("iqp-lite"),) and model.alpha == 0.8
        assert (dial.quantiles[0], dial.quantiles[-1]) == (0.0, 1.0)
        assert model.dial.any == commonest(dial, model.config) != IQPIR(model.config).dial.any
        assert model.restore(torch.rand(1, 3, 64, 64), quality=0.5).shape == (1, 3, 64, 64)

    def test_stage_two_leaves_generator_books_and_fidelity_path_alone(self, finished):
        first = IQPIRTokenizer.from_pretrained(finished / "stage1" / "model").state_dict()
        model = IQPIR.from_pretrained(finished / "stage2" / "model")
        second = model.state_dict()
        same = {key for key in first if torch.equal(first[key], second[key])}
        assert same == {key for key in first if key.startswith(("generator", "quantize"))}
        with pytest.raises(ValueError, match="fidelity path of this IQPIR was never trained"):
            model.restore(torch.rand(1, 3, 64, 64), fidelity=0.5)

    def test_a_run_that_goes_on_ends_with_the_same_bits(self, faces, finished, tmp_path):
        for stage in ("stage1", "stage2"):
            for steps in (4, 6):
                NativeTraining(every_term(steps), faces, tmp_path).run_stage(stage)
            straight, stopped = (
                torch.load(run / stage / "state.pt", weights_only=True)["averaged"] for run in (finished, tmp_path)
            )
            assert [key for key, value in straight.items() if not torch.equal(value, stopped[key])] == []

    def test_it_has_no_third_stage(self, faces, tmp_path):
        settings = config()
        settings = replace(settings, stages=settings.stages | {"stage3": settings.stages["stage2"]})
        with pytest.raises(ValueError, match="the authors' model has no stage3; leave it out: .* quality_from"):
            NativeTraining(settings, faces, tmp_path).run()
        assert not (tmp_path / "stage1").exists()

    @pytest.mark.parametrize("name", ["native_paper", "native_paper_small"])
    def test_the_shipped_configurations_are_of_these_stages(self, name):
        settings = TrainConfig.load(EXAMPLES / f"{name}.yaml")
        size = preset(settings.preset, **settings.changes)
        assert isinstance(size, IQPIRConfig) and settings.degradation == {"kind": "heavy"}
        assert Augmentation(**settings.augmentation).only_mirrors
        SummedCodebookStage.check(settings.stages["stage1"])
        ScorePredictionStage.check(settings.stages["stage2"])

    def test_the_numbers_are_the_published_ones(self):
        settings = TrainConfig.load(EXAMPLES / "native_paper.yaml")
        first, second = settings.stages.values()
        assert preset(settings.preset, **settings.changes) == IQPIRConfig()
        assert (first.steps, first.batch * first.accumulate, first.rate) == (200_000, 12, 7e-5)
        assert (second.steps, second.batch * second.accumulate, second.rate) == (200_000, 28, 1e-4)
        assert {(one.ema, one.fall_to, one.decay, one.warmup) for one in (first, second)} == {(0.995, 1, 0, 0)}
        assert second.weights == {"common": 0.5, "plus": 0.5, "feature": 1} and not second.options


class TestFirstStage:
    def test_stage_one_of_both_models_is_one(self):
        assert issubclass(CodebookStage, Reconstruction) and issubclass(SummedCodebookStage, Reconstruction)

    @pytest.mark.parametrize("above", [0.07, 0.95])
    def test_hq_plus_learns_from_the_pictures_above_the_share(self, tokenizer, batch, above):
        terms = terms_of(first_stage(tokenizer, plus_above=above), batch)
        terms["commitment"].backward()
        assert tokenizer.quantize.entries.grad.any()
        assert bool(tokenizer.quantize_aesthetic.entries.grad.any()) == (above < 0.9)

    def test_a_poor_picture_is_decoded_without_hq_plus(self, tokenizer, batch):
        stage = first_stage(tokenizer)
        pictures = stage.reconstruct(batch).pictures
        quantised = tokenizer.quantise(2 * batch.hq - 1, torch.ones(3, dtype=torch.bool))
        common = tokenizer.quantize.embedding(quantised.codes[0]).transpose(1, 2).unflatten(2, (8, 8))
        expected = tokenizer.generator(common) / 2 + 0.5
        torch.testing.assert_close(pictures[0], expected[0])
        assert not torch.allclose(pictures[1], expected[1])

    def test_alpha_is_an_option_and_is_saved(self, tokenizer, tmp_path):
        first_stage(tokenizer, alpha=0.3)
        tokenizer.save_pretrained(tmp_path)
        loaded = IQPIRTokenizer.from_pretrained(tmp_path)
        assert loaded.alpha == 0.3 and loaded.config == tokenizer.config
        model = IQPIR(tokenizer.config)
        model.adopt(loaded)
        assert model.alpha == 0.3
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())

    def test_every_picture_is_judged_from_the_step_of_the_option_on(self, tokenizer, batch):
        stage = first_stage(tokenizer, adversarial_from=4)
        assert "adversarial" not in terms_of(stage, batch, 3) and "adversarial" in terms_of(stage, batch, 4)
        assert bool(stage.reconstruct(batch).judged.all())

    def test_the_adversary_pulls_no_harder_than_the_reconstruction(self, tokenizer, batch):
        stage = first_stage(tokenizer, adversarial_from=0)
        terms, last = terms_of(stage, batch), tokenizer.generator.blocks[-1].weight
        pull = [torch.autograd.grad(terms[k], last, retain_graph=True)[0] for k in ("l1", "perceptual", "adversarial")]
        assert pull[2].norm() <= (pull[0] + pull[1]).norm() * 1.001
        assert float(stage.after_step(0)["adaptive_weight"]) <= 1


def test_the_adaptive_weight_is_the_ratio_of_the_gradients_up_to_its_limit():
    last = torch.tensor([3.0, 4.0], requires_grad=True)
    strong, weak = 4 * last.sum(), last.sum()
    torch.testing.assert_close(losses.adaptive_weight(weak, strong, last), torch.tensor(0.25), rtol=1e-3, atol=0)
    assert losses.adaptive_weight(strong, weak, last) == 1


class TestSecondStage:
    def test_the_condition_is_the_score_of_the_target(self, model, tokenizer, batch, monkeypatch):
        asked, own = [], model.predict
        monkeypatch.setattr(model, "predict", lambda x, score: asked.append((x, score)) or own(x, score))
        terms_of(second_stage(model, tokenizer), batch)
        [(x, score)] = asked
        torch.testing.assert_close(x, 2 * batch.lq - 1)
        torch.testing.assert_close(score, batch.scale.position(batch.scale.score(batch.quality)))

    def test_the_features_are_drawn_to_the_sum_of_the_codes(self, model, tokenizer, batch):
        common, plus = tokenizer.codes(2 * batch.hq - 1)
        wanted = model.quantize.embedding(common) + 0.8 * model.quantize_aesthetic.embedding(plus)
        seen = model.predict(2 * batch.lq - 1, model.dial.score(batch.quality)).features.flatten(2).transpose(1, 2)
        terms = terms_of(second_stage(model, tokenizer), batch)
        torch.testing.assert_close(terms["feature"], (seen - wanted).square().mean())
        assert "quality" not in terms

    @pytest.mark.parametrize(("way", "reached"), [("latent", False), ("logits", True)])
    def test_the_quality_term_reaches_the_transformer_through_the_logits_alone(
        self, model, tokenizer, batch, way, reached
    ):
        stage = second_stage(model, tokenizer, WAYS[way], scorer=brightness, quality_from=2)
        assert "quality" not in terms_of(stage, batch, 1)
        terms_of(stage, batch, 2)["quality"].backward()
        assert bool(model.ft_layers[0].linear1.weight.grad is not None) == reached
        assert model.encoder.blocks[0].weight.grad.any() and model.score_embed.weight.grad.any()
        assert model.quantize.entries.grad is None and model.generator.blocks[0].weight.grad is None

    def test_both_ways_decode_the_most_likely_codes(self, model, batch):
        prediction = model.predict(2 * batch.lq - 1, 0.9)
        codes = model.look_up([logits.argmax(-1) for logits in prediction.logits])
        for way in WAYS.values():
            torch.testing.assert_close(way(model, prediction), codes)

    def test_the_quality_term_is_what_is_missing_to_the_best_score(self, model, tokenizer, batch):
        stage = second_stage(model, tokenizer, scorer=lambda pictures: torch.full((3,), 40.0), quality_from=0)
        torch.testing.assert_close(terms_of(stage, batch)["quality"], torch.tensor(0.5))  # 40 of 20 to 60

    def test_a_model_with_one_codebook_and_no_score_trains_too(self, batch):
        tokenizer = IQPIRTokenizer(preset("paper", **SMALL, books=1, score="none", rows=[]))
        model = IQPIR(tokenizer.config)
        model.adopt(tokenizer)
        assert terms_of(first_stage(tokenizer), batch)["commitment"] > 0
        assert set(terms_of(second_stage(model, tokenizer), batch)) == {"common", "feature"}


class TestScores:
    @pytest.mark.parametrize("lower_better", [False, True])
    def test_positions_rise_evenly_from_the_worst_score_to_the_best(self, lower_better):
        quantiles = (9.0, 5.0, 4.0) if lower_better else (4.0, 5.0, 9.0)
        scale = ScoreScale("niqe", lower_better, quantiles, (0.0, 0.3, 1.0))
        scores = torch.tensor([4.0, 6.5, 9.0, 10.0])
        expected = torch.tensor([0.0, 0.5, 1.0, 1.2])
        torch.testing.assert_close(scale.position(scores), 1 - expected if lower_better else expected)
        inside = torch.tensor([0.1, 0.6])
        torch.testing.assert_close(scale.of_positions().score(inside), scale.position(scale.score(inside)))

    def test_any_is_the_row_of_most_pictures(self):
        size = preset("paper", **SMALL)
        assert commonest(ScoreScale("niqe", False, (0.0, 0.71, 0.79, 1.0)), size) == pytest.approx(0.75)


class TestTargetCodes:
    @pytest.fixture
    def counted(self, tokenizer, monkeypatch):
        """Which pictures the tokenizer is asked for."""
        seen, own = [], tokenizer.codes
        monkeypatch.setattr(tokenizer, "codes", lambda x: seen.append(x) or own(x))
        return seen

    def test_they_are_those_of_the_tokenizer(self, tokenizer, batch, tmp_path):
        expected = tokenizer.codes(2 * batch.hq - 1)
        kept = KeptCodes(tokenizer, tmp_path)
        for found in (TargetCodes(tokenizer)(batch.hq), kept(batch.hq), kept(batch.hq)):
            assert all(map(torch.equal, found, expected))

    def test_a_picture_and_its_mirror_are_computed_once_for_all_runs(self, tokenizer, batch, tmp_path, counted):
        kept = KeptCodes(tokenizer, tmp_path)
        for pictures in (batch.hq, batch.hq.flip(-1), batch.hq):
            kept(pictures)
        kept.keep()
        both = torch.cat([batch.hq, batch.hq.flip(-1)]).to(memory_format=torch.channels_last)
        again = KeptCodes(tokenizer, tmp_path)(both)
        assert len(counted) == 6
        assert torch.equal(again[0][3:], tokenizer.codes(2 * batch.hq.flip(-1) - 1)[0])

    def test_a_changed_picture_is_computed_anew(self, tokenizer, batch, tmp_path, counted):
        kept = KeptCodes(tokenizer, tmp_path)
        kept(batch.hq)
        kept(batch.hq + torch.tensor([0.0, 1e-3, 0.0])[:, None, None, None])
        assert len(counted) == 4

    def test_they_are_written_as_they_come(self, tokenizer, batch, tmp_path, monkeypatch):
        monkeypatch.setattr("iqp_adapter.training.target_codes.SHARD", 2)
        KeptCodes(tokenizer, tmp_path)(batch.hq)
        assert len(KeptCodes(tokenizer, tmp_path)._kept) == 2

    def test_a_damaged_file_is_said_and_computed_again(self, tokenizer, batch, tmp_path, counted, caplog):
        kept = KeptCodes(tokenizer, tmp_path)
        expected = kept(batch.hq)
        kept.keep()
        [file] = tmp_path.glob("*.npz")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
        with caplog.at_level(logging.WARNING, "iqp_adapter"):
            again = KeptCodes(tokenizer, tmp_path)
        assert all(map(torch.equal, again(batch.hq), expected)) and len(counted) == 6
        assert f"{file} is damaged" in caplog.text
        again.keep()
        assert len(KeptCodes(tokenizer, tmp_path)._kept) == 3

    @pytest.mark.parametrize("codes", [np.full((1, 2, 64), 12, np.int16), np.zeros((1, 2, 4), np.int16)])
    def test_codes_that_the_tokenizer_cannot_give_are_not_taken(self, tokenizer, tmp_path, codes):
        np.savez(tmp_path / "odd.npz", keys=np.zeros((1, 32), np.uint8), codes=codes)
        assert not KeptCodes(tokenizer, tmp_path)._kept

    def test_a_run_keeps_them_by_the_tokenizer(self, finished, faces):
        [folder] = (finished / CODES).iterdir()
        tokenizer = IQPIRTokenizer.from_pretrained(finished / "stage1" / "model")
        kept = KeptCodes(tokenizer, folder)._kept
        assert 5 <= len(kept) <= 10  # 12 samples of five pictures and their mirrors
        run = NativeTraining(config(), faces, finished.with_name("elsewhere"))
        views = [replace(run._augmentation(), flip=float(mirrored)) for mirrored in (False, True)]
        found = 0
        for view in views:
            next(iter(run.data.folders.values())).augmentation = view
            found += sum(key_of(run.data[0, place]["hq"]) in kept for place in range(5))
        assert found == len(kept)

    def test_those_of_another_tokenizer_are_not_taken(self, faces, finished, tokenizer, tmp_path):
        tokenizer.save_pretrained(tmp_path / "other")
        run = NativeTraining(config(), faces, tmp_path / "run")
        models = (finished / "stage1" / "model", tmp_path / "other")
        own, again, other = (run.stages._targets(tokenizer, model).folder for model in (*models[:1], *models))
        assert own == again != other

    @pytest.mark.parametrize(
        ("originals", "changes", "recurs"), [(1, {}, True), (0.9, {}, False), (1, {"shift": 0.1}, False)]
    )
    def test_targets_recur_where_they_are_pictures_and_mirror_images(self, faces, originals, changes, recurs):
        augmentation = Augmentation(**PLAIN | changes)
        assert FaceFolder(faces, 64, ladder=Ladder(originals), augmentation=augmentation).recurs == recurs

    def test_targets_that_do_not_recur_are_not_kept(self, faces, finished, tokenizer, tmp_path):
        run = NativeTraining(config(ladder={"originals": 0.9}), faces, tmp_path)
        assert type(run.stages._targets(tokenizer, finished / "stage1" / "model")) is TargetCodes


def key_of(picture: torch.Tensor) -> bytes:
    import hashlib

    return hashlib.sha256(picture.numpy().tobytes()).digest()


class TestHeavyDegradation:
    def test_at_512_px_it_is_the_published_one(self):
        heavy = HeavyDegradation.for_resolution(512)
        assert heavy == HeavyDegradation()
        assert (heavy.kernel_size, heavy.blur_sigma, heavy.downsample) == (41, (1, 15), (4, 30))
        assert (heavy.noise, heavy.jpeg, heavy.strength, heavy.enlarge) == ((0, 20), (30, 80), (1, 1), "linear")

    def test_it_scales_with_the_picture_but_for_noise_and_jpeg(self):
        heavy = HeavyDegradation.for_resolution(128, noise=[0, 5])
        assert (heavy.kernel_size, heavy.blur_sigma, heavy.downsample) == (11, (0.25, 3.75), (1, 7.5))
        assert (heavy.noise, heavy.jpeg) == ((0, 5), (30, 80))


def test_adam_has_no_weight_decay_where_the_stage_says_so():
    from iqp_adapter.training.loop import _Learner, rate_share

    settings = config().stages["stage1"]
    assert _Learner("x", nn.Linear(1, 1), settings, {}).optimiser.param_groups[0]["weight_decay"] == 0
    assert {rate_share(step, settings) for step in range(7)} == {1.0}


def test_a_share_of_the_rate_above_one_is_refused():
    with pytest.raises(ValueError, match="fall_to is 1.5; give 1 or less"):
        StageConfig(1, 1, 1e-3, fall_to=1.5)
    with pytest.raises(ValueError, match="optimised is 'pixels'; choose from 'logits' or 'latent'"):
        config(optimised="pixels")


def test_the_scorer_of_a_run_drives_the_quality_term(model, tokenizer, batch):
    stage = second_stage(model, tokenizer, scorer=Scorer("iqp-lite"), quality_from=0)
    assert terms_of(stage, batch)["quality"].requires_grad
