"""The native model: sizes, codebooks, the HQ+ branch, the dial and what keeps it exact."""

from dataclasses import replace

import pytest
import torch
from native_pieces import SMALL, acting

from iqp_adapter.core.colours import grey_where_grey, with_colours_of
from iqp_adapter.native import IQPFR, PRESETS, IQPFRConfig, Tokenizer, preset
from iqp_adapter.native.codebook import Codebook, MovingCodebook
from iqp_adapter.native.tokenizer import NULL
from iqp_adapter.store import checkpoint


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return Tokenizer(SMALL)


@pytest.fixture
def model():
    return acting(SMALL)


@pytest.fixture
def lq():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class TestCodebook:
    def test_nearest_entry_by_angle(self):
        book = Codebook(4, 8)
        _, indices, commitment = book.quantise(5 * book.entries[None])
        assert indices.tolist() == [[0, 1, 2, 3]]
        torch.testing.assert_close(commitment, torch.zeros(1), atol=1e-5, rtol=0)

    def test_quantised_tokens_are_entries_with_the_gradient_of_the_tokens(self):
        book, tokens = Codebook(4, 8), torch.randn(2, 5, 8, requires_grad=True)
        entries, indices, _ = book.quantise(tokens)
        assert torch.equal(entries, book.lookup(indices))
        (entries * torch.randn(2, 5, 8)).sum().backward()
        assert tokens.grad.abs().min() > 0

    def test_mixing_one_hot_weights_is_looking_up(self):
        book, indices = Codebook(4, 8), torch.tensor([[3, 0, 1]])
        torch.testing.assert_close(book.mix(torch.eye(4)[indices]), book.lookup(indices))

    def test_entries_move_to_the_tokens_that_choose_them(self):
        torch.manual_seed(0)
        book = MovingCodebook(2, 8, decay=0.5)
        target = torch.nn.functional.normalize(torch.randn(2, 8), dim=1) * book.length
        for _ in range(30):
            tokens = target.repeat(50, 1)
            book.update(tokens, torch.tensor([0, 1]).repeat(50))
        torch.testing.assert_close(book.entries, target, atol=1e-3, rtol=0)

    def test_dead_entries_come_back_onto_tokens_and_living_ones_stay(self):
        torch.manual_seed(0)
        book = MovingCodebook(8, 4)
        tokens = book.entries[:1] + 0.01 * torch.randn(64, 4)
        for _ in range(400):
            book.update(tokens, book.indices(tokens))
        before = book.entries[0].clone()
        assert float(book.perplexity()) < 1.1
        assert book.revive(tokens, torch.Generator().manual_seed(0)) == 7
        assert torch.equal(book.entries[0], before)
        assert (book.entries @ before / book.length**2).min() > 0.99

    def test_perplexity_counts_entries_in_use(self):
        book = MovingCodebook(16, 4)
        for _ in range(3):
            book.update(torch.randn(8, 4), torch.arange(8))
        assert float(book.perplexity()) == pytest.approx(8)

    def test_the_first_revival_places_all_entries_on_tokens(self):
        book, tokens = MovingCodebook(16, 4), torch.randn(1, 4)
        assert book.revive(tokens, torch.Generator().manual_seed(0)) == 0
        book.update(tokens, torch.tensor([3]))
        assert book.revive(tokens, torch.Generator().manual_seed(0)) == 15
        torch.testing.assert_close(book.entries, (tokens / tokens.norm() * book.length).expand(16, 4))


class TestTokenizer:
    def test_only_pictures_above_the_quantile_use_hq_plus(self, tokenizer, lq):
        quantised = tokenizer.quantise(lq, torch.tensor([0.2, 0.5, 0.9]))
        plus = quantised.codes[1]
        assert (plus[:2] == NULL).all()
        assert (plus[2] != NULL).all()
        assert len(quantised.plus_tokens) == 1

    def test_tokens_are_what_the_codes_stand_for(self, tokenizer, lq):
        quantised = tokenizer.quantise(lq, torch.tensor([0.2, 0.5, 0.9]))
        assert torch.equal(quantised.tokens, tokenizer.books.lookup(*quantised.codes))

    def test_everything_learns(self, tokenizer, lq):
        restored, quantised = tokenizer(lq, torch.tensor([0.2, 0.5, 0.9]))
        ((restored - lq).abs().mean() + quantised.commitment).backward()
        assert [name for name, p in tokenizer.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_codebooks_move_only_when_told(self, tokenizer, lq):
        before = tokenizer.books.common.entries.clone()
        _, quantised = tokenizer(lq, torch.full((3,), 0.9))
        assert torch.equal(before, tokenizer.books.common.entries)
        tokenizer.update_codebooks(quantised)
        assert not torch.equal(before, tokenizer.books.common.entries)

    def test_a_batch_without_rich_pictures_is_no_trouble(self, tokenizer, lq):
        _, quantised = tokenizer(lq, torch.zeros(3))
        before = tokenizer.books.plus.entries.clone()
        tokenizer.update_codebooks(quantised)
        torch.testing.assert_close(before, tokenizer.books.plus.entries)
        assert float(quantised.commitment) > 0


class TestModel:
    def test_the_dial_changes_the_logits(self, model, lq):
        low, high = (model(lq, quality=q)[1][0] for q in (0.1, 0.9))
        assert (low - high).abs().max() > 1e-3

    def test_scale_zero_is_no_preference_to_the_bit(self, model, lq):
        assert torch.equal(model.restore(lq, quality=0.9, scale=0.0), model.restore(lq, quality="any"))
        assert torch.equal(model.restore(lq, quality=None), model.restore(lq, quality="any"))

    def test_guidance_overshoots(self, model, lq):
        null, one, two = (model(lq, quality=0.9, scale=s)[1][0] for s in (0.0, 1.0, 2.0))
        torch.testing.assert_close(two, 2 * one - null, atol=1e-5, rtol=1e-5)

    def test_default_quality_is_set_once(self, model, lq):
        model.quality = 0.3
        assert torch.equal(model.restore(lq), model.restore(lq, quality=0.3))

    def test_fidelity_zero_takes_nothing_but_codes_from_the_input(self, model, lq):
        image, logits = model(lq, quality=0.5, fidelity=0.0)
        codes = model.books.lookup(*(x.argmax(-1) for x in logits))
        blank = model.predict(torch.zeros_like(lq), torch.full((3, 1), 0.5))
        torch.testing.assert_close(model.decode(codes, blank, 0.0), image)
        assert not torch.allclose(model(lq, quality=0.5, fidelity=1.0)[0], image)

    def test_fidelity_brings_the_colours_of_large_areas(self, model, lq):
        def cells(images):
            return torch.nn.functional.adaptive_avg_pool2d(images, 8)

        codes_alone, faithful = (cells(model(lq, fidelity=w)[0]) for w in (0.0, 1.0))
        assert (faithful - cells(lq)).abs().mean() < 0.5 * (codes_alone - cells(lq)).abs().mean()

    @pytest.mark.parametrize("reach", [0.1, 0.4])
    def test_colours_are_kept_as_far_as_the_size_says(self, lq, reach):
        coloured, free = (
            acting(replace(SMALL, colour_reach=reach, keep_colours=kept))(lq, fidelity=1.0)[0] for kept in (True, False)
        )
        torch.testing.assert_close(coloured, grey_where_grey(lq, with_colours_of(lq, free, reach=reach)))

    def test_mixed_batches_give_the_rows_of_single_calls(self, model, lq):
        """In double precision: in single, processors round batches of other sizes differently."""
        model, lq = model.double(), lq.double()
        quality, fidelity = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.0, 0.5, 1.0])
        _, together = model(lq, quality=quality, fidelity=fidelity)
        for i in range(3):
            _, alone = model(lq[i : i + 1], quality=float(quality[i]), fidelity=float(fidelity[i]))
            torch.testing.assert_close(together[0][i : i + 1], alone[0], atol=1e-9, rtol=1e-9)

    @pytest.mark.parametrize("size", [(32, 32), (50, 41), (16, 16)])
    def test_restore_keeps_size_dtype_and_range(self, model, size):
        restored = model.restore(torch.rand(2, 3, *size, dtype=torch.float64))
        assert restored.shape == (2, 3, *size)
        assert restored.dtype == torch.float64
        assert not restored.requires_grad
        assert 0 <= restored.min() <= restored.max() <= 1

    def test_wrong_shapes_and_qualities_are_said_in_one_line(self, model):
        with pytest.raises(ValueError, match=r"expected float \(B, 3, H, W\)"):
            model.restore(torch.rand(3, 32, 32))
        with pytest.raises(ValueError, match="must lie in"):
            model.restore(torch.rand(1, 3, 32, 32), quality=1.5)

    def test_a_model_without_condition_has_no_dial(self, lq):
        bare = IQPFR(preset("tiny-256", **{**SMALL.to_dict(), "condition": False})).eval()
        assert not [name for name, _ in bare.named_parameters() if "condition" in name or "embedding" in name]
        assert torch.equal(bare.restore(lq, quality=0.1), bare.restore(lq, quality=0.9))

    def test_codes_are_optimised_and_sampled_by_a_metric(self, model, lq):
        class Red:
            metric, lower_better, differentiable = "red", False, True

            def __call__(self, images):
                return 100 * images[:, 0].mean((1, 2))

        start, reward = model.restore(lq), Red()
        flags = [parameter.requires_grad for parameter in model.parameters()]
        for better in (
            model.optimise(lq, reward, steps=20, kl_weight=0.0),
            model.best_of(lq, reward, samples=8, temperature=5.0),
        ):
            assert (reward(better) >= reward(start)).all() and (reward(better) > reward(start)).any()
            assert not better.requires_grad
        assert torch.equal(model.optimise(lq, reward, steps=0), start)
        assert torch.equal(model.best_of(lq, reward, samples=0), start)
        assert flags == [parameter.requires_grad for parameter in model.parameters()]
        Red.differentiable = False
        with pytest.raises(ValueError, match="red has no gradient"):
            model.optimise(lq, reward)

    def test_it_adopts_stage_one(self, model, tokenizer):
        model.adopt(tokenizer)
        assert torch.equal(model.books.common.entries, tokenizer.books.common.entries)
        assert torch.equal(model.decoder.stem[0].weight, tokenizer.decoder.stem[0].weight)
        assert torch.equal(model.encoder.stem[1].weight, tokenizer.encoder.stem[1].weight)

    def test_what_it_adopts_is_where_prediction_starts(self, tokenizer, lq):
        model = IQPFR(SMALL).eval()
        model.adopt(tokenizer)
        wanted = tokenizer.quantise(lq, torch.ones(3)).codes
        common, plus = model(lq, quality=0.5)[1]
        assert torch.equal(common.argmax(-1), wanted[0])
        assert torch.equal(plus[..., 1:].argmax(-1) + 1, wanted[1])

    def test_saved_and_loaded_it_is_the_same(self, model, lq, tmp_path):
        model.save_pretrained(tmp_path / "model")
        loaded = IQPFR.from_pretrained(tmp_path / "model")
        assert not loaded.training
        assert loaded.score_scale == model.score_scale
        assert torch.equal(loaded.restore(lq, quality=0.7), model.restore(lq, quality=0.7))

    def test_a_file_without_a_version_of_its_metric_is_of_the_first_one(self, model, tmp_path, second_lite, caplog):
        model.save_pretrained(tmp_path)
        assert IQPFR.from_pretrained(tmp_path).score_scale.metric == model.score_scale.metric and not caplog.messages
        config, state = checkpoint.load(tmp_path)
        checkpoint.save(tmp_path, state, config | {"score_scale": config["score_scale"] | {"metric": "iqp-lite"}})
        loaded = IQPFR.from_pretrained(tmp_path)
        assert loaded.score_scale.metric == "iqp-lite@1" and loaded.conditioned_on == ("iqp-lite@1",)
        [line] = caplog.messages
        assert line.startswith(f"{tmp_path} is stale: it is conditioned on iqp-lite@1; ") and "iqp-lite@2" in line

    def test_what_ships_names_the_version_of_its_metric(self, second_lite, caplog):
        assert IQPFR.from_pretrained("tiny").score_scale.metric == "iqp-lite@2" and not caplog.messages

    def test_every_parameter_that_stage_two_trains_gets_a_gradient(self, model, lq):
        image, logits = model(lq, quality=torch.tensor([0.2, 0.8, torch.nan]), fidelity=1.0)
        (image.mean() + sum(x.logsumexp(-1).mean() for x in logits)).backward()
        silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert silent == ["books.null"] or silent == []


def test_presets_have_the_sizes_they_promise():
    assert PRESETS["paper"].grid == PRESETS["tiny-256"].grid == 16 and PRESETS["tiny"].grid == 32
    assert preset("tiny-256", layers=1).layers == 1
    assert IQPFRConfig.from_dict(PRESETS["tiny"].to_dict()) == PRESETS["tiny"]
    with pytest.raises(ValueError, match="unknown preset 'tinny'; available: paper, iqpfr-512, tiny, tiny-256"):
        preset("tinny")
    with pytest.raises(ValueError, match="divisible by 16"):
        preset("tiny-256", resolution=250)
