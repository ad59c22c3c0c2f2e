"""Score scales: any metric's scores become a quality in [0, 1] and come back."""

import math
from dataclasses import replace

import pytest
import torch

from iqp_adapter.core.quality import BEST, ScoreScale, as_quality
from iqp_adapter.scoring.scales import digest_of, named_scale, named_scales, read_scale
from iqp_adapter.store.reading import Fields

UP = ScoreScale.fit("musiq", False, torch.linspace(20, 80, 301))
DOWN = ScoreScale.fit("niqe", True, torch.linspace(3, 9, 301))


@pytest.mark.parametrize(("scale", "worst", "best"), [(UP, 20, 80), (DOWN, 9, 3)])
def test_quality_is_one_at_the_best_score_whatever_the_direction(scale, worst, best):
    scores = torch.tensor([worst, (worst + best) / 2, best], dtype=torch.float64)
    torch.testing.assert_close(scale.quality(scores), torch.tensor([0, 0.5, 1], dtype=torch.float64))


@pytest.mark.parametrize("scale", [UP, DOWN])
def test_score_is_the_inverse_of_quality(scale):
    quality = torch.linspace(0, 1, 57)
    torch.testing.assert_close(scale.quality(scale.score(quality)), quality)


def test_quality_is_the_share_of_training_scores_below():
    skewed = torch.cat([torch.zeros(50).uniform_(0, 1, generator=torch.manual_seed(0)), torch.linspace(10, 20, 50)])
    scale = ScoreScale.fit("musiq", False, skewed)
    assert float(scale.quality(torch.tensor(15.0))) == pytest.approx(0.75, abs=0.01)


def test_quality_never_leaves_its_range_and_has_a_gradient_inside():
    scores = torch.tensor([-1e6, 50.1, 1e6], requires_grad=True)
    quality = UP.quality(scores)
    quality.sum().backward()
    assert quality.tolist() == [0, pytest.approx(30.1 / 60), 1]
    torch.testing.assert_close(scores.grad, torch.tensor([0, 1 / 60, 0]), atol=1e-5, rtol=1e-4)


def test_equal_scores_are_no_division_by_zero():
    scale = ScoreScale.fit("niqe", True, [5.0, 5.0, 5.0])
    assert scale.quality(torch.tensor([4.0, 5.0, 6.0])).isfinite().all()


def test_scale_survives_being_stored():
    assert ScoreScale.from_dict(DOWN.to_dict()) == DOWN


def test_quantiles_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="from worst to best"):
        ScoreScale("niqe", True, (3.0, 9.0))


UNEQUAL = ScoreScale("musiq", False, (0.0, 50.0, 60.0, 90.0), (0.0, 0.01, 0.5, 1.0))
UNEQUAL_PIQE = ScoreScale("piqe", True, (90.0, 50.0, 0.0), (0.0, 0.1, 1.0))
UNEQUAL_DOWN = ScoreScale("niqe", True, (90.0, 60.0, 50.0, 0.0), (0.0, 0.01, 0.5, 1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [UNEQUAL, UNEQUAL_DOWN])
def test_knots_may_be_unequally_spaced(scale, dtype):
    shares = torch.tensor(scale.shares, dtype=dtype)
    knots = torch.tensor(scale.quantiles, dtype=dtype)
    assert torch.equal(scale.quality(knots), shares) and torch.equal(scale.score(shares), knots)
    quality = torch.linspace(0, 1, 57, dtype=dtype)
    torch.testing.assert_close(scale.quality(scale.score(quality)), quality)
    halves = (knots[1:] + knots[:-1]) / 2
    torch.testing.assert_close(scale.quality(halves), (shares[1:] + shares[:-1]) / 2)
    torch.testing.assert_close(scale.quality(torch.tensor([-1e6, 1e6], dtype=dtype)).sort().values, shares[[0, -1]])


def test_the_gradient_follows_the_shares():
    scores = torch.tensor([-1.0, 25.0, 55.0, 75.0, 91.0], requires_grad=True)
    UNEQUAL.quality(scores).sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([0, 0.01 / 50, 0.49 / 10, 0.5 / 30, 0]))


def test_shares_are_stored_only_where_they_are_unequally_spaced():
    even = ScoreScale("musiq", False, UP.quantiles, tuple(i / 100 for i in range(101)))
    assert even == UP and even.shares == ()
    assert list(even.to_dict()) == ["metric", "lower_better", "quantiles"]
    assert UNEQUAL.to_dict()["shares"] == [0, 0.01, 0.5, 1]
    assert ScoreScale.from_dict(UNEQUAL.to_dict()) == UNEQUAL
    assert read_scale(Fields(UNEQUAL.to_dict(), "s.json")) == UNEQUAL
    assert read_scale(Fields(UP.to_dict(), "s.json")) == UP


def test_shares_are_in_the_digest():
    bare = ScoreScale("musiq", False, UNEQUAL.quantiles)
    other = ScoreScale("musiq", False, UNEQUAL.quantiles, (0.0, 0.02, 0.5, 1.0))
    assert len({digest_of(scale) for scale in (bare, UNEQUAL, other)}) == 3
    assert digest_of(ScoreScale("niqe", True, (20.0, 10.0, 2.0))) == "43ef7905"  # as before there were shares


@pytest.mark.parametrize(
    "shares",
    [(0.0, 1.0), (0.0, 0.6, 0.5, 1.0), (0.0, 0.5, 0.5, 1.0), (0.1, 0.2, 0.5, 1.0), (0.0, 0.2, 0.5, 0.9)]
    + [(0.0, math.nan, 0.5, 1.0)],
)
def test_other_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares of musiq must rise from 0 to 1, one for each of 4") as error:
        ScoreScale("musiq", False, UNEQUAL.quantiles, shares)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"s\.json: (shares of musiq|`shares)"):
        read_scale(Fields(UNEQUAL.to_dict() | {"shares": list(shares)}, "s.json"))


class TestMembers:
    """The scale of an ensemble that was built on other scales than the stored ones keeps them."""

    PARTS = (ScoreScale("niqe", True, (20.0, 10.0, 2.0), (0.0, 0.9, 1.0)), ScoreScale("piqe", True, (90.0, 0.0)))
    SCALE = ScoreScale("mean(niqe, piqe)", False, (0.0, 50.0, 60.0), members=PARTS)

    def test_they_are_stored(self):
        for again in (ScoreScale.from_dict(self.SCALE.to_dict()), read_scale(Fields(self.SCALE.to_dict(), "s.json"))):
            assert again == self.SCALE and again.members == self.PARTS
        assert self.SCALE.ends().members == self.PARTS

    def test_they_are_in_the_digest(self):
        bare, other = replace(self.SCALE, members=()), replace(self.SCALE, members=(self.PARTS[0].ends(), UNEQUAL_PIQE))
        assert len({digest_of(scale) for scale in (self.SCALE, bare, other)}) == 3

    def test_a_mixture_keeps_them_and_mixes_no_others(self):
        other = replace(self.SCALE, quantiles=(0.0, 70.0, 80.0))
        assert ScoreScale.mixture([self.SCALE, other], [1, 1]).members == self.PARTS
        with pytest.raises(ValueError, match="on equal members"):
            ScoreScale.mixture([self.SCALE, replace(other, members=())], [1, 1])

    @pytest.mark.parametrize(
        ("metric", "parts"), [("mean(niqe, piqe)", PARTS[:1]), ("mean(piqe, niqe)", PARTS), ("musiq", PARTS)]
    )
    def test_those_of_others_are_refused(self, metric, parts):
        with pytest.raises(ValueError, match="give one for each member") as error:
            ScoreScale(metric, False, (0.0, 1.0), members=parts)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [UNEQUAL, UNEQUAL_DOWN])
def test_its_ends_are_minimum_and_maximum(scale):
    ends = scale.ends()
    assert ends.quality(torch.tensor([0.0, 45.0, 90.0])).sort().values.tolist() == [0, 0.5, 1]
    assert (ends.metric, ends.lower_better, ends.shares) == (scale.metric, scale.lower_better, ())
    assert ScoreScale.fit(scale.metric, scale.lower_better, [50.0, 90.0, 0.0, 60.0], count=2) == ends


@pytest.mark.parametrize("scale", [UNEQUAL, UNEQUAL_DOWN])
def test_a_mixture_follows_the_shares(scale):
    worst, low, middle, best = scale.quantiles
    finer = replace(scale, quantiles=(worst, low, 55.0, middle, best), shares=(0.0, 0.01, 0.255, 0.5, 1.0))
    assert (low + middle) / 2 == 55  # the same scale in other words
    mixed = ScoreScale.mixture([scale, finer], [1, 3])
    scores = torch.linspace(0, 90, 181, dtype=torch.float64)
    torch.testing.assert_close(mixed.quality(scores), scale.quality(scores))


class TestNamedScales:
    """Facts of the published tables of FFHQ's scores."""

    @pytest.mark.parametrize(
        ("name", "quality", "score"),
        [
            ("ffhq/musiq-gfiqa+topiq-face", 0.5, 0.84068),
            ("ffhq/musiq-gfiqa+topiq-face", 0.95, 0.918119),
            ("ffhq/musiq-gfiqa", 0, -0.004975),
            ("ffhq/musiq-gfiqa", 1, 0.929683),
            ("ffhq/topiq-face", 0.25, 0.733349),
            ("ffhq/topiq-face", 1, 0.96158),
        ],
    )
    def test_they_are_as_published(self, name, quality, score):
        scale = named_scale(name)
        assert float(scale.score(torch.tensor(quality, dtype=torch.float64))) == pytest.approx(score, abs=1e-9)
        assert float(scale.quality(torch.tensor(score, dtype=torch.float64))) == pytest.approx(quality, abs=1e-9)

    def test_their_metrics_are_those_of_the_authors(self):
        metrics = {name: scale.metric for name, scale in named_scales().items()}
        assert metrics == {
            "ffhq/musiq-gfiqa": "musiq-gfiqa",
            "ffhq/topiq-face": "topiq_nr-face-v1",
            "ffhq/musiq-gfiqa+topiq-face": "minmax-mean(musiq-gfiqa, topiq_nr-face-v1)",
        }

    def test_a_place_between_minimum_and_maximum_is_as_published(self):
        theirs = named_scale("ffhq/topiq-face").ends().quality(torch.tensor([0.780376, 0.864162]))
        assert theirs.tolist() == pytest.approx([0.804016, 0.894637], abs=1e-5)

    @pytest.mark.parametrize(
        ("name", "metric", "why"),
        [
            ("ffhq/topiq-face", "topiq_nr-face", "pyiqa's topiq_nr-face learned from CGFIQA, .*name topiq_nr-face-v1"),
            ("ffhq/musiq-gfiqa", "musiq", "pyiqa's musiq learned from KonIQ and gives 0 to 100, .*leave the scale out"),
            ("ffhq/topiq-face", "niqe", "is of topiq_nr-face-v1, and the metric is niqe; name topiq_nr-face-v1, or"),
            ("ffhq/qalign", "qalign", "Q-Align were not published as a table; there are ffhq/musiq-gfiqa, "),
        ],
    )
    def test_a_scale_of_another_metric_is_refused_with_the_reason(self, name, metric, why):
        with pytest.raises(ValueError, match=why) as error:
            named_scale(name, metric)
        assert "\n" not in str(error.value)
        assert named_scale("ffhq/topiq-face", "topiq_nr-face-v1") is named_scale("ffhq/topiq-face")

    @pytest.mark.parametrize(("name", "why"), [("ffhq/musiq", ";"), ("ffhq/qalign", ": .*Q-Align.* not published.*;")])
    def test_another_name_lists_those_that_there_are(self, name, why):
        with pytest.raises(
            ValueError, match=f"no score scale '{name}'{why} there are ffhq/musiq-gfiqa, ffhq/"
        ) as error:
            named_scale(name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("lower_better", [False, True])
def test_a_mixture_is_the_scale_of_the_pooled_scores(lower_better):
    generator = torch.Generator().manual_seed(0)
    studio, street = torch.randn(2, 6000, generator=generator)
    studio, street = (
        (70 + 3 * studio).clamp(max=74)[:2000],
        40 + 8 * street,
    )  # many of one score, and a gap between them
    scales = [ScoreScale.fit("musiq", lower_better, scores) for scores in (studio, street)]
    mixed, pooled = (
        ScoreScale.mixture(scales, [1, 3]),
        ScoreScale.fit("musiq", lower_better, torch.cat([studio, street])),
    )
    scores = torch.linspace(10, 80, 500)
    torch.testing.assert_close(mixed.quality(scores), pooled.quality(scores), atol=0.01, rtol=0)
    assert mixed.lower_better is lower_better and len(mixed.quantiles) == 101
    assert (mixed.quantiles[0], mixed.quantiles[-1]) == (pooled.quantiles[0], pooled.quantiles[-1])
    even = ScoreScale.mixture(scales, [1, 1])
    assert (even.quality(scores) - pooled.quality(scores)).abs().max() > 0.2


def test_a_mixture_of_one_scale_is_that_scale():
    assert ScoreScale.mixture([DOWN], [0.3]) is DOWN
    torch.testing.assert_close(ScoreScale.mixture([DOWN, DOWN], [1, 5]).quantiles, DOWN.quantiles)
    flat = [ScoreScale("musiq", False, (score, score)) for score in (2.0, 4.0)]
    assert ScoreScale.mixture(flat, [1, 1], count=5).quantiles == (2, 2, 2, 4, 4)


@pytest.mark.parametrize(
    ("scales", "shares", "words"),
    [
        ([UP, DOWN], [1, 1], "scales of musiq, niqe cannot be mixed"),
        ([], [], "scales of none cannot be mixed"),
        ([UP, UP], [1], r"shares are \[1\] for 2 scales"),
        ([UP, UP], [1, 0], "give a number above 0 for each"),
        ([UP, UP], [1, math.nan], "give a number above 0 for each"),
    ],
)
def test_scales_that_cannot_be_mixed_are_refused(scales, shares, words):
    with pytest.raises(ValueError, match=words) as error:
        ScoreScale.mixture(scales, shares)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scores", [[1.0], [1.0, math.nan]])
def test_scores_that_make_no_scale_are_refused(scores):
    with pytest.raises(ValueError, match="two or more finite"):
        ScoreScale.fit("niqe", True, scores)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (0.3, [[0.3, 0.3]] * 2),
        ("best", [[BEST, BEST]] * 2),
        (torch.tensor([0.1, 0.9]), [[0.1, 0.1], [0.9, 0.9]]),
        (torch.tensor([[0.1, 0.2], [0.3, 0.4]]), [[0.1, 0.2], [0.3, 0.4]]),
    ],
)
def test_every_way_to_ask(asked, expected):
    torch.testing.assert_close(as_quality(asked, 2, ["musiq", "niqe"]), torch.tensor(expected))


def test_any_is_no_preference():
    assert as_quality("any", 3, ["musiq"]).isnan().all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("bset", "quality is 'bset'; use a number in .* 'best' or 'any'"),
        (1.2, "must lie in"),
        (-0.1, "must lie in"),
        (torch.rand(4), r"shape \(4, 1\), expected \(2, 2\).*musiq, niqe"),
        (torch.rand(2, 3), r"shape \(2, 3\)"),
        (torch.rand(2, 1, 1), r"shape \(2, 1, 1\)"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(asked, words):
    with pytest.raises(ValueError, match=words) as error:
        as_quality(asked, 2, ["musiq", "niqe"])
    assert "\n" not in str(error.value)
