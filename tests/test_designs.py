"""Parts of the native model that can be as the authors' are: map, sum, zero, scale, latent gradient; their designs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from training_run import config

from benchmarks.ablations import compare_designs, designs, train_design
from benchmarks.ablations.designs import DESIGNS, OURS, config_of
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.core.score_map import ScoreBins
from iqp_adapter.native import IQPFR, IQPFRConfig, Tokenizer, preset
from iqp_adapter.native.tokenizer import NULL
from iqp_adapter.training.base_run import SCALE
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch, LatentQualityStage, QualityStage

SMALL = IQPFRConfig(
    resolution=32, patch=2, widths=(16, 24), encoder_blocks=1, decoder_blocks=1, common_codes=12, plus_codes=6,
    code_dim=8, dim=32, layers=2, heads=4, fused_levels=(0, 1), token_dim=16,
)  # fmt: skip
MAP, SUM, ZERO = {"injection": "score_map"}, {"joining": "summed"}, {"null": "zero"}
CHANGES = [{}, MAP, {"injection": "both"}, SUM, ZERO, MAP | SUM | ZERO]
ALL = pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "-".join(changes.values()) or "ours")
SCALE_0_100 = ScoreScale.fit("iqp-lite", False, torch.linspace(0, 100, 11))


def small(**changes) -> IQPFR:
    """A model whose parts that start at zero are drawn, so that they show."""
    torch.manual_seed(0)
    model = IQPFR(replace(SMALL, **changes), SCALE_0_100)
    for layer in (model.transformer.refine, *(fusion.modulate for fusion in model.fusions.values())):
        torch.nn.init.normal_(layer.weight, std=0.1)
    if model.score_map is not None:
        for parameter in model.score_map.parameters():
            torch.nn.init.normal_(parameter)
    return model.eval()


@pytest.fixture
def lq():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def batch(lq):
    quality = torch.tensor([0.2, 0.5, 0.9])
    scales = SampleScales((SCALE_0_100,), torch.zeros(3, dtype=torch.int64))
    return Batch(lq, lq.roll(1, -1), quality, [1, 2, 3], scales, torch.ones(3).bool())


@ALL
class TestEveryDesign:
    def test_the_dial_turns_and_scale_zero_is_no_preference(self, changes, lq):
        model = small(**changes)
        low, high = (model(lq, quality=q)[1][0] for q in (0.05, 0.95))
        assert (low - high).abs().max() > 1e-3
        assert torch.equal(model.restore(lq, quality=0.9, scale=0.0), model.restore(lq, quality="any"))
        assert torch.equal(model.restore(lq, quality=0.9, scale=1.0), model.restore(lq, quality=0.9))

    def test_saved_and_loaded_it_is_the_same(self, changes, lq, tmp_path):
        model = small(**changes)
        model.save_pretrained(tmp_path)
        loaded = IQPFR.from_pretrained(tmp_path)
        assert loaded.config == model.config
        assert torch.equal(loaded.restore(lq, quality=0.7), model.restore(lq, quality=0.7))

    def test_what_it_adopts_is_where_prediction_starts(self, changes, lq):
        torch.manual_seed(0)
        tokenizer, model = Tokenizer(replace(SMALL, **changes)), IQPFR(replace(SMALL, **changes)).eval()
        model.adopt(tokenizer)
        wanted = tokenizer.quantise(lq, torch.ones(3)).codes
        common, plus = model(lq, quality=0.5)[1]
        assert torch.equal(common.argmax(-1), wanted[0])
        assert torch.equal(plus[..., 1:].argmax(-1) + 1, wanted[1])

    def test_every_parameter_gets_a_gradient(self, changes, lq):
        model, quality = small(**changes), torch.tensor([0.2, 0.8, torch.nan])
        image, logits = model(lq, quality=quality, fidelity=1.0)
        (image.mean() + sum(x.logsumexp(-1).mean() for x in logits)).backward()
        silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        assert silent <= {"books.null"}

    def test_tokens_of_stage_one_are_what_the_codes_stand_for(self, changes, lq):
        tokenizer = Tokenizer(replace(SMALL, **changes))
        quantised = tokenizer.quantise(lq, torch.tensor([0.2, 0.5, 0.9]))
        assert torch.equal(quantised.tokens, tokenizer.books.lookup(*quantised.codes))
        assert quantised.tokens.shape[-1] == tokenizer.config.latent

    def test_latent_gradients_change_the_encoder_and_what_embeds_the_score_alone(self, changes, batch):
        model, before = small(**changes), small(**changes)
        stage = LatentQualityStage(StageConfig(1, 3, 1e-3), torch.nn.L1Loss(), model, before, red)
        prediction = model.predict(batch.lq, batch.quality[:, None])
        restored = stage.restored(prediction, batch)
        codes = model.books.lookup(*(x.argmax(-1) for x in prediction.code_logits))
        torch.testing.assert_close(restored, model.decode(codes, prediction, 0.5))
        red(restored).sum().backward()
        moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == {"encoder"} | ({"score_map"} if model.score_map is not None else set())
        parts = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        assert parts <= {"encoder", "score_map", "embedding"}


def red(images):
    return 100 * images[:, 0].mean((1, 2))


def test_a_bin_is_a_tenth_of_the_quality_and_the_last_one_has_the_best():
    block = ScoreBins(2)
    block.table.data[0, :, 0] = torch.arange(10.0)[:, None]
    block.no_preference.data[:] = -1
    qualities = torch.tensor([0.0, 0.099, 0.1, 0.3, 0.7, 0.899, 0.9, 1.0, torch.nan])[:, None]
    [added] = block.condition(qualities)
    assert added[:, 0, 0].tolist() == [0, 0, 1, 3, 7, 8, 9, 9, -1]


def test_the_map_is_added_once_to_the_deepest_features_and_is_different_at_every_position(lq):
    model, bare = small(**MAP), small(**MAP)
    torch.nn.init.zeros_(bare.score_map.table)
    quality = torch.full((3, 1), 0.55)
    *before, deepest = model.predict(lq, quality).features
    *same, plain = bare.predict(lq, quality).features
    assert all(map(torch.equal, before, same))
    wanted = model.score_map.table[0, 5].T.unflatten(1, (SMALL.grid, SMALL.grid))  # (L, C) -> (C, h, w)
    torch.testing.assert_close(deepest - plain, wanted.expand(3, -1, -1, -1))
    assert not any("condition" in name or "embedding" in name for name, _ in model.named_parameters())


def test_a_fresh_map_says_nothing_and_learns_at_once(lq):
    torch.manual_seed(0)
    model = IQPFR(replace(SMALL, **MAP)).eval()
    assert torch.equal(model.restore(lq, quality=0.1), model.restore(lq, quality=0.9))
    model.predict(lq, torch.full((3, 1), 0.5)).features[-1].square().sum().backward()
    assert model.score_map.table.grad.any()


def test_both_are_the_parts_of_each():
    keys = [set(small(injection=name).state_dict()) for name in ("attention", "score_map", "both")]
    assert keys[2] == keys[0] | keys[1] and keys[1] - keys[0] == {"score_map.table", "score_map.no_preference"}


def test_guidance_lies_between_the_maps(lq):
    model = small(**MAP)
    null, half, full = (model.predict(lq, torch.full((3, 1), 0.9), scale).features[-1] for scale in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (null + full) / 2)
    assert torch.equal(null, model.predict(lq, torch.full((3, 1), torch.nan)).features[-1])
    assert not torch.allclose(null, full)


def test_a_sum_is_of_one_feature_quantised_by_both_books(lq):
    tokenizer = Tokenizer(replace(SMALL, **SUM, plus_weight=0.5))
    common, plus = tokenizer.quantise(lq, torch.ones(3)).codes
    seen = tokenizer.to_codes(tokenizer.encoder(lq)[-1]).flatten(2).transpose(1, 2)
    assert seen.shape[-1] == SMALL.code_dim
    assert torch.equal(common, tokenizer.books.common.indices(seen))
    assert torch.equal(plus, tokenizer.books.plus.indices(seen) + 1)
    entries = tokenizer.books.common.lookup(common) + 0.5 * tokenizer.books.plus.lookup(plus - 1)
    assert torch.equal(tokenizer.books.lookup(common, plus), entries)


def test_below_the_threshold_a_sum_with_zero_is_the_common_entry(lq):
    tokenizer = Tokenizer(replace(SMALL, **SUM, **ZERO))
    quantised = tokenizer.quantise(lq, torch.zeros(3))
    assert (quantised.codes[1] == NULL).all()
    assert torch.equal(quantised.tokens, tokenizer.books.common.lookup(quantised.codes[0]))
    assert "books.null" not in dict(tokenizer.named_parameters()) and "books.null" in tokenizer.state_dict()


def test_a_configuration_from_before_there_was_a_choice_is_ours():
    known = {name: value for name, value in SMALL.to_dict().items() if name not in (*choices(), "plus_weight")}
    assert IQPFRConfig.from_dict(known) == SMALL
    assert choices() == {"injection": "attention", "joining": "concatenated", "null": "learned"}


def choices() -> dict[str, str]:
    return {name: getattr(SMALL, name) for name in ("injection", "joining", "null")}


@pytest.mark.parametrize("name", choices())
def test_an_unknown_word_is_said_in_one_line(name):
    with pytest.raises(ValueError, match=f"{name} is 'other'; choose from {choices()[name]}, "):
        replace(SMALL, **{name: "other"})
    with pytest.raises(ValueError, match=f"preset tiny-256: `{name}` is 'other', expected one of '{choices()[name]}'"):
        preset("tiny-256", **{name: "other"})


class TestTraining:
    @pytest.fixture
    def faces(self, tmp_path):
        from skimage.data import astronaut

        (tmp_path / "faces").mkdir()
        for place, name in enumerate(("ann_1", "bob_1", "eve_1", "eve_2")):
            crop = astronaut()[10 * place : 10 * place + 200, 100:300]
            Image.fromarray(crop).resize((160, 160)).save(tmp_path / "faces" / f"{name}.png")
        return tmp_path / "faces"

    def test_two_knots_are_minimum_and_maximum_and_quality_is_even_between_them(self, faces, tmp_path):
        whole = NativeTraining(config(), faces, tmp_path / "whole").scale
        even = NativeTraining(config(scale_knots=2), faces, tmp_path / "even").scale
        assert even.quantiles == (whole.quantiles[0], whole.quantiles[-1]) and len(whole.quantiles) == 101
        middle = torch.tensor(sum(even.quantiles) / 2)
        assert float(even.quality(middle)) == pytest.approx(0.5)
        assert json.loads((tmp_path / "even" / SCALE).read_text())["quantiles"] == list(even.quantiles)

    def test_wrong_settings_are_said_in_one_line(self):
        with pytest.raises(ValueError, match="scale_knots is 1; give 2 or more"):
            config(scale_knots=1)
        with pytest.raises(ValueError, match="optimised is 'pixels'; choose from 'logits' or 'latent'"):
            config(optimised="pixels")

    @pytest.mark.parametrize(("optimised", "stage"), [("logits", QualityStage), ("latent", LatentQualityStage)])
    def test_the_configuration_chooses_stage_three(self, faces, tmp_path, optimised, stage):
        training = NativeTraining(config(optimised=optimised), faces, tmp_path)
        assert training.kind("stage3") is stage

    def test_every_stage_of_their_design_trains_and_latent_stage_leaves_the_transformer(self, faces, tmp_path):
        changes = config().changes | MAP | SUM | ZERO
        run = NativeTraining(config(steps=2, changes=changes, optimised="latent"), faces, tmp_path)
        run.run()
        before, after = (IQPFR.from_pretrained(tmp_path / f"stage{n}" / "model").state_dict() for n in (2, 3))
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == {"encoder", "score_map"}


class TestDesigns:
    def test_each_differs_from_its_base_in_one_thing(self):
        for name in DESIGNS.keys() - {OURS, "theirs"}:
            design = DESIGNS[name]
            base = config_of(design.base, 0)
            mine = config_of(name, 0)
            changed = {key for key in mine.changes if mine.changes[key] != base.changes.get(key)}
            differ = changed - {"code_dim", "plus_above"}  # these keep the rest equal
            differ |= {
                key for key in ("scale_knots", "optimised", "metric") if getattr(mine, key) != getattr(base, key)
            }
            differ |= {"drop"} if mine.stages != base.stages else set()
            differ |= {"pooled"} if design.pooled else set()
            assert len(differ) == 1, name

    def test_their_design_takes_all_differences(self):
        theirs, single = config_of("theirs", 0), [config_of(name, 0) for name in DESIGNS if name not in (OURS, "both")]
        assert all(theirs.changes[key] == value for one in single for key, value in one.changes.items())
        assert theirs.scale_knots == 2 and theirs.optimised == "latent"
        assert theirs.stages["stage2"].options["drop"] == 0

    def test_all_take_the_same_steps_and_decoders_of_one_width(self):
        steps = {tuple((s.steps, s.batch) for s in config_of(name, 0).stages.values()) for name in DESIGNS}
        assert len(steps) == 1
        assert len({preset("tiny-256", **config_of(name, 0).changes).latent for name in DESIGNS}) == 1

    def test_longer_means_as_many_times_the_steps_and_nothing_else(self):
        short, long = config_of("map", 0), config_of("map", 0, longer=2.5)
        assert [stage.steps for stage in long.stages.values()] == [600, 550, 100]
        assert replace(long, stages=short.stages) == short

    def test_an_unknown_design_is_said_in_one_line(self, tmp_path):
        import typer

        with pytest.raises(typer.BadParameter, match="no design 'mapp'; choose from ours, map"):
            train_design.main(tmp_path, [tmp_path], "mapp")

    def test_pooled_sets_are_one_folder_that_can_be_made_again(self, tmp_path):
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            Image.new("RGB", (64, 64)).save(tmp_path / name / f"{name}_1.png")
        for _ in range(2):
            folder = train_design.pooled([tmp_path / "one", tmp_path / "other"], tmp_path / "run" / "pooled")
            assert sorted(path.name for path in folder.iterdir()) == ["one_1.png", "other_1.png"]
            assert (folder / "one_1.png").read_bytes() == (tmp_path / "one" / "one_1.png").read_bytes()

    @pytest.mark.slow
    def test_designs_train_and_are_compared(self, monkeypatch, tmp_path):
        from skimage.data import astronaut

        (tmp_path / "faces").mkdir()
        for place, name in enumerate(("ann_1", "ann_2", "bob_1", "eve_1")):
            crop = astronaut()[10 * place : 10 * place + 200, 100:300]
            Image.fromarray(crop).resize((160, 160)).save(tmp_path / "faces" / f"{name}.png")
        few = {"widths": (16, 32), "dim": 32, "heads": 4, "layers": 1, "token_dim": 16}
        monkeypatch.setattr(designs, "SIZE", designs.SIZE | few)
        quick = {name: replace(stage, steps=2, batch=2, warmup=1) for name, stage in designs.STAGES.items()}
        monkeypatch.setattr(designs, "STAGES", quick)
        run, out = tmp_path / "run", tmp_path / "out"
        for name, seed in (("map-latent", 0), ("ours", 1), ("sum", 0)):
            train_design.main(run, [tmp_path / "faces"], name, seed, longer=2)
        weights = {path.parts[-4]: path.read_bytes() for path in run.glob("*-0/stage1/model/model.safetensors")}
        assert weights["map-0"] == weights["ours-0"] != weights["sum-0"]
        with pytest.raises(Exception, match="no trained ours"):
            compare_designs.main(tmp_path / "elsewhere", [tmp_path / "faces"], out=out)
        train_design.main(run, [tmp_path / "faces"], OURS, 0, longer=2)
        compare_designs.main(run, [tmp_path / "faces"], out=out)
        result = json.loads((out / "designs.json").read_text())
        assert {name: of["seeds"] for name, of in result["designs"].items()} == {
            "ours": [0, 1],
            "sum": [0],
            "map-latent": [0],
            "ours before stage3": [0, 1],
            "map before stage3": [0],
        }
        assert result["steps"] == {"stage1": 4, "stage2": 4, "stage3": 4}
        assert result["designs"]["sum"]["against ours"]["seeds"] == [0]
        assert all(np.isfinite(cell["mean"]) for cell in result["ours, seed 1 against seed 0"].values())
        assert (out / "designs.png").stat().st_size > 0 and "| sum against ours | 0 |" in (
            out / "designs.md"
        ).read_text()
