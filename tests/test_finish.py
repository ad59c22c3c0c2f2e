"""The finish: what it may change of a picture, what it learns from, and that the rest of the model stays the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from native_pieces import SCALE, SMALL, acting
from training_run import config

from iqp_adapter import load
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.engines.export import export
from iqp_adapter.engines.formats import FORMATS
from iqp_adapter.native import IQPFR, IQPFRConfig
from iqp_adapter.native.finish import doubled, fine, halved
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store.files import list_images
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.dataset import FaceFolder
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch, FinishStage
from iqp_adapter.training.stages.finish import ALONE

FINISHED = replace(SMALL, resolution=64, finish_width=8, finish_blocks=1)
AT_SIDE = replace(SCALE, side=32)


@pytest.fixture
def lq():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model():
    """Its finish draws something, which depends on quality and input."""
    return acting(replace(FINISHED, fused_picture=True), scale=AT_SIDE)


def test_it_draws_nothing_but_finer_detail(model, lq):
    coded = IQPFR(replace(SMALL, fused_picture=True)).eval()
    coded.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith("finish.")})
    restored, logits = model(lq, quality=0.7, fidelity=0.3)
    expected, _ = coded(halved(lq), quality=0.7, fidelity=0.3)
    assert restored.shape == lq.shape and logits[0].shape[1] == 8**2
    assert torch.allclose(halved(restored), expected, atol=1e-5)
    assert fine(restored).abs().mean() > 0.01


def test_a_new_finish_enlarges_smoothly():
    coarse = torch.linspace(0, 1, 32).expand(1, 3, 32, 32).contiguous()
    finish = IQPFR(FINISHED).finish
    with torch.no_grad():
        enlarged = finish(coarse, torch.rand(1, 3, 64, 64), torch.zeros(1, 4, 16), 1.0)
    steps = enlarged[0, 0, 0, 4:-4].diff()
    assert bool((steps > 0).all()) and float(steps.max() / steps.min()) < 1.01  # a ramp stays one


def test_detail_of_the_input_is_seen_as_much_as_it_is_trusted(model, lq):
    smooth = doubled(halved(lq))
    assert torch.equal(model(lq, quality=0.7, fidelity=0)[0], model(smooth, quality=0.7, fidelity=0)[0])
    assert not torch.allclose(model(lq, quality=0.7, fidelity=1)[0], model(smooth, quality=0.7, fidelity=1)[0])


def test_quality_and_fidelity_may_differ_by_picture(model, lq):
    quality, fidelity = torch.tensor([0.2, 0.9]), torch.tensor([0.1, 0.8])
    together = model(lq, quality, fidelity=fidelity)[0]
    for at in range(2):
        alone = model(lq[at : at + 1], float(quality[at]), fidelity=float(fidelity[at]))[0]
        assert torch.allclose(together[at], alone[0], atol=1e-5)
    assert not torch.allclose(fine(model(lq, 0.2)[0]), fine(model(lq, 0.9)[0]), atol=1e-4)


def test_codes_are_decoded_with_the_finish(model, lq):
    decision = model.decision(lq, quality=0.7)
    weights = tuple(torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1]).float() for x in decision.logits)
    assert torch.allclose(decision.decode(weights), model(lq, quality=0.7)[0].clamp(0, 1), atol=1e-5)


def test_saved_and_loaded(model, lq, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = IQPFR.from_pretrained(tmp_path)
    assert loaded.score_scale == AT_SIDE and loaded.config == model.config
    assert torch.equal(loaded(lq, 0.7)[0], model(lq, 0.7)[0])


class TestFusedPicture:
    """The fidelity path may also join at the end, from the degraded picture itself."""

    FUSED = replace(FINISHED, fused_picture=True)

    def test_it_brings_in_what_no_level_sees(self, lq):
        model = acting(replace(self.FUSED, fused_levels=(), keep_colours=False))
        prediction = model.predict(halved(lq), torch.full((2, 1), 0.7))
        codes = model.books.lookup(*(x.argmax(-1) for x in prediction.code_logits))
        other = prediction._replace(lq=prediction.lq.flip(-1))
        assert not torch.allclose(model.decode(codes, prediction, 1.0), model.decode(codes, other, 1.0), atol=1e-3)

    def test_it_does_nothing_without_fidelity(self, lq):
        fused, plain = acting(self.FUSED), IQPFR(FINISHED).eval()
        plain.load_state_dict({k: v for k, v in fused.state_dict().items() if not k.startswith("fusions.picture.")})
        assert torch.equal(fused(lq, 0.7, fidelity=0.0)[0], plain(lq, 0.7, fidelity=0.0)[0])
        assert not torch.allclose(fused(lq, 0.7, fidelity=1.0)[0], plain(lq, 0.7, fidelity=1.0)[0], atol=1e-3)


@pytest.mark.parametrize("format", FORMATS)
def test_an_exported_program_finishes_as_torch_does(model, lq, tmp_path, format):
    for package in ("openvino", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    export(model, tmp_path / "exported", format)
    engine = load(tmp_path / "exported")
    for asked in ({"quality": 0.2, "fidelity": 1.0}, {"quality": "best", "fidelity": 0.0}):
        torch.testing.assert_close(engine.restore(lq, **asked), model.restore(lq, **asked), atol=1e-4, rtol=0)
    assert engine.score_scale == AT_SIDE


def test_a_model_of_an_earlier_release_has_no_finish():
    entries = SMALL.to_dict()
    del entries["finish_width"], entries["finish_blocks"]
    assert IQPFRConfig.from_dict(entries) == SMALL and not SMALL.finished


def test_the_side_must_fit_codes_and_finish():
    with pytest.raises(ValueError, match="resolution 36 must be divisible by 8: patch, levels and finish"):
        replace(FINISHED, resolution=36)


class TestSide:
    """Scores at a side, which the finish does not change."""

    @pytest.fixture
    def pictures(self):
        return torch.rand(2, 3, 256, 192, generator=torch.Generator().manual_seed(2))

    def test_larger_pictures_are_reduced(self, pictures):
        plain, at_side = Scorer("iqp-lite", device="cpu"), Scorer("iqp-lite", device="cpu", side=96)
        assert torch.equal(at_side(pictures), plain(halved(pictures)))
        assert torch.equal(at_side(halved(pictures)), plain(halved(pictures)))
        assert at_side.protocol != plain.protocol and at_side.metric == plain.metric

    def test_there_is_a_gradient(self, pictures):
        images = pictures.requires_grad_()
        Scorer("iqp-lite", device="cpu", side=96)(images).sum().backward()
        assert images.grad.abs().sum() > 0

    def test_a_scale_keeps_its_side(self):
        assert ScoreScale.from_dict(AT_SIDE.to_dict()) == AT_SIDE
        assert "side" not in SCALE.to_dict()
        assert Scorer.of(AT_SIDE, "cpu").side == 32
        with pytest.raises(ValueError, match="cannot be mixed"):
            ScoreScale.mixture([SCALE, AT_SIDE], [1, 1])

    def test_a_model_is_optimised_by_the_score_that_it_knows(self, model, lq, monkeypatch):
        seen = []
        score = Scorer.__call__
        monkeypatch.setattr(Scorer, "__call__", lambda self, images: seen.append(self.side) or score(self, images))
        model = acting(replace(FINISHED, resolution=128), scale=replace(SCALE, side=64))
        model.best_of(torch.rand(1, 3, 128, 128), samples=1)
        model.best_of(torch.rand(1, 3, 128, 128), metric="iqp-lite@1", samples=1)
        assert set(seen) == {64, None}


class TestData:
    """Pictures that are smaller than a sample."""

    @pytest.fixture
    def folder(self, tmp_path):
        from PIL import Image

        rng = np.random.default_rng(0)
        for side in (16, 32, 48):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(tmp_path / f"{side}.png")
        return tmp_path

    def test_smaller_ones_are_enlarged_and_named(self, folder, caplog):
        data = FaceFolder(folder, 48, smallest=32)
        assert [path.stem for path in data.paths] == ["32", "48"] and "16.png" in caplog.text
        assert [data[0, at]["full"] for at in range(2)] == [False, True]
        assert data[0, 0]["hq"].shape == (3, 48, 48)

    def test_by_default_they_are_left_out(self, folder):
        assert [path.stem for path in FaceFolder(folder, 48).paths] == ["48"]

    def test_a_share_of_the_samples_is_grey(self, folder):
        from iqp_adapter.training.augmentation import Augmentation

        data = FaceFolder(folder, 16, augmentation=Augmentation(grey=0.5), degradation=lambda x, _: 1 - x)
        samples = [data[epoch, 0] for epoch in range(40)]
        colours = [float((each["hq"].amax(0) - each["hq"].amin(0)).mean()) for each in samples]
        greys = [colour < 1e-5 for colour in colours]
        assert 8 < sum(greys) < 32
        spread = [float((each["lq"].amax(0) - each["lq"].amin(0)).mean()) < 1e-5 for each in samples]
        assert spread == greys


class TestStage:
    @pytest.fixture
    def batch(self, lq):
        scales = SampleScales((SCALE,), torch.zeros(2, dtype=torch.int64))
        return Batch(lq.roll(1, -1), lq, torch.tensor([0.3, 0.9]), [1, 2], scales, torch.tensor([True, False]))

    @pytest.fixture
    def stage(self, model):
        settings = StageConfig(1, 2, 1e-3, options={"adversarial_from": 0})
        return FinishStage(settings, lambda a, b: (a - b).square().mean(), model)

    def updates(self, stage, batch, step=ALONE):
        return {name: terms for name, terms in stage.updates(batch, step)}

    def test_only_the_finish_learns(self, stage, model):
        learning = {name.split(".")[0] for name, value in model.named_parameters() if value.requires_grad}
        assert learning == {"finish"}

    def test_enlarged_targets_teach_no_detail(self, stage, batch):
        other = batch._replace(hq=torch.cat([batch.hq[:1], 1 - batch.hq[1:]]))
        known = self.updates(stage, batch)["model"]
        assert torch.equal(known["perceptual"], self.updates(stage, other)["model"]["perceptual"])
        changed = batch._replace(hq=torch.cat([1 - batch.hq[:1], batch.hq[1:]]))
        assert not torch.equal(known["perceptual"], self.updates(stage, changed)["model"]["perceptual"])

    def test_without_a_known_target_there_is_still_a_gradient(self, stage, batch):
        terms = self.updates(stage, batch._replace(full=torch.zeros(2).bool()))["model"]
        assert float(terms["l1"].detach()) == pytest.approx(0, abs=1e-2) and terms["adversarial"].requires_grad

    def test_the_discriminator_compares_good_pictures(self, stage, batch):
        bad = batch._replace(quality=torch.tensor([0.3, 0.3]))
        assert self.updates(stage, bad)["discriminator"]["discriminator"].item() == 0
        batch = batch._replace(full=torch.tensor([True, True]))
        assert self.updates(stage, batch)["discriminator"]["discriminator"].item() > 0

    def test_the_discriminator_learns_alone_first(self, stage, batch):
        first, later = self.updates(stage, batch, ALONE - 1), self.updates(stage, batch)
        assert "discriminator" in first and "adversarial" not in first["model"] and "adversarial" in later["model"]

    def test_without_good_detail_the_discriminator_learns_nothing(self, stage, batch):
        loss = self.updates(stage, batch._replace(full=torch.tensor([True, False])))["discriminator"]["discriminator"]
        assert loss.item() == 0  # only the first picture has detail, and its quality is 0.3

    def test_the_adversary_pulls_no_harder_than_the_target(self, stage, batch):
        """However strong the discriminator is, the finish stays near what it knows."""
        for weights in stage.discriminator.parameters():
            weights.data.mul_(30)
        terms, last = self.updates(stage, batch)["model"], stage.finish.leave.weight
        known = stage.together({name: terms[name] for name in ("l1", "perceptual")})
        pulls = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (terms["adversarial"], known)]
        assert 0 < pulls[0] <= pulls[1] * 1.001

    def test_a_model_without_a_finish_is_refused(self):
        with pytest.raises(ValueError, match="this model has none; set finish_width"):
            FinishStage(StageConfig(1, 1, 1e-3), torch.nn.Identity(), acting(SMALL))


def test_a_run_learns_all_stages(faces, tmp_path):
    """Codes are learned at half the side; the last stage changes the finish alone."""
    settings = config(steps=4)
    last = StageConfig(4, 2, 1e-2, warmup=1, ema=0.0, options={"adversarial_from": 2})
    changes = settings.changes | {"resolution": 128, "finish_width": 8, "finish_blocks": 1}
    settings = replace(settings, changes=changes, stages=settings.stages | {"stage4": last})
    run = NativeTraining(settings, faces / "dev", tmp_path)
    assert run.resolution == 64 and run.side_of("stage4") == 128
    run.run()
    before, after = (IQPFR.from_pretrained(tmp_path / stage / "model") for stage in ("stage3", "stage4"))
    assert after.score_scale.side == 64 and after.resolution == 128
    changed = {
        key.split(".")[0]
        for key, value in before.state_dict().items()
        if not torch.equal(value, after.state_dict()[key])
    }
    assert changed == {"finish"}
    assert len(list_images([tmp_path / "stage4"])) >= 2  # curves and a sample grid
