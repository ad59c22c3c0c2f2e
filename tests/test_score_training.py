"""What a scorer of this project learns from, and how its fairness and its gaming curves are measured."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.scorer import gaming, groups, raising
from benchmarks.scorer.distortions import SEEN, UNSEEN, distort
from benchmarks.scorer.fairness import Person, Regression, tenth_means
from benchmarks.scorer.groups import FAINT, Groups, HardGroups, Step, greatly, person_number, slightly, sources, starkly
from benchmarks.scorer.heads import Target, Weights, attributes, disorder, fit_groups, grades, group_loss
from benchmarks.scorer.looks import BUSY, PATTERNS, backdrop, before, busyness, cheek_luminance, exposed, scenery
from benchmarks.scorer.severities import in_order
from benchmarks.scorer.train_lite import Material, joined
from iqp_adapter.restorer import Decision
from iqp_adapter.scoring.backbones import efficientnet_lite
from iqp_adapter.scoring.lite import LiteHead


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A grey oval with two dark eyes before a plain, slightly shaded wall: (128, 128, 3)."""
    rows, columns = np.mgrid[0:1:128j, 0:1:128j]
    wall = np.stack([0.3 + 0.1 * rows, 0.4 + 0.1 * columns, 0.8 - 0.1 * rows], axis=-1)
    head = ((columns - 0.5) / 0.28) ** 2 + ((rows - 0.6) / 0.45) ** 2 < 1
    eyes = (abs(rows - 0.47) < 0.02) & (abs(abs(columns - 0.5) - 0.12) < 0.05)
    return np.where(eyes[..., None], 0.1, np.where(head[..., None], 0.55, wall)).astype(np.float32)


def write(folder, names, picture) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(folder / f"{name}.png")


class TestLooks:
    def test_a_person_before_a_plain_wall_is_cut_out(self, portrait):
        part = backdrop(portrait)
        assert part[5, 5] > 0.95 and part[70, 64] < 0.05
        changed = before(portrait, scenery("stripes", 128, np.random.default_rng(0)), part)
        assert (
            np.abs(changed - portrait)[:20, :20].mean() > 0.1 and np.abs(changed - portrait)[60:90, 50:78].max() < 0.01
        )
        assert busyness(changed) > 5 * busyness(portrait)

    def test_a_busy_background_is_left_alone(self, portrait):
        noisy = portrait.copy()
        noisy[:50] = np.random.default_rng(0).random((50, 128, 3))
        assert backdrop(noisy) is None

    def test_cheeks_are_measured_alone(self, portrait):
        assert cheek_luminance(portrait) == pytest.approx(0.55, abs=0.01)
        assert cheek_luminance(exposed(portrait, 0.5)) < 0.45

    def test_exposure_is_in_linear_light_and_never_clips(self):
        image = np.full((4, 4, 3), 0.5, np.float32)
        assert exposed(image, 1.0) == pytest.approx(image, abs=1e-5)
        assert exposed(image, 0.5).mean() == pytest.approx(0.3614, abs=1e-3)
        assert exposed(np.ones((4, 4, 3), np.float32), 4.0).max() <= 1

    @pytest.mark.parametrize("name", sorted({*PATTERNS, *BUSY}))
    def test_scenery_fills_a_picture(self, name):
        drawn = scenery(name, 64, np.random.default_rng(0))
        assert drawn.shape == (64, 64, 3) and drawn.min() >= 0 and drawn.max() <= 1
        assert drawn.std((0, 1)).max() > 0.02

    def test_a_stark_look_is_dark_or_bright_and_mostly_before_something_busy(self, portrait):
        looks = [starkly(portrait, np.random.default_rng(seed)) for seed in range(40)]
        light = [cheek_luminance(look) for look in looks]
        assert min(light) < 0.45 and max(light) > 0.65
        assert np.mean([busyness(look) > 5 * busyness(portrait) for look in looks]) > 0.6

    def test_looks_keep_the_picture_in_range(self, portrait):
        for look in (slightly, greatly, starkly):
            image = look(portrait, np.random.default_rng(1))
            assert image.shape == portrait.shape and image.min() >= 0 and image.max() <= 1


class TestGroups:
    @pytest.fixture(scope="class")
    @staticmethod
    def data(tmp_path_factory, portrait) -> Groups:
        place = tmp_path_factory.mktemp("sets")
        write(place / "studio" / "train", ["a_1", "a_2", "b_1"], portrait)
        write(place / "web" / "train", ["c_1"], portrait)
        facts = "split,file,source,native,outside\ntrain,c_1.png,cse151a,96,0\n"
        (place / "web" / "facts.csv").write_text(facts)
        folders = [place / "studio" / "train", place / "web" / "train"]
        return Groups(folders, folders[0], SEEN, ("lite0",), 4, 0)

    def test_the_target_is_measured_on_somebody_else(self, data):
        for source in data.sets[0]:
            others = {data._other(source, np.random.default_rng(seed)).stem for seed in range(20)}
            assert others and not any(name.startswith(source.path.stem[0]) for name in others)

    def test_what_a_photo_went_through_is_part_of_its_target(self, data, portrait):
        [web] = data.sets[1]
        assert all(source.photo is None for source in data.sets[0])
        file, side = data.pristine[0], 128
        pristine = groups._measured(file, None, [], side)
        photo = groups._measured(file, web.photo, [], side)
        assert pristine["vif"] == pytest.approx(1, abs=1e-4) and photo["vif"] < 0.95 and photo["nlpd"] > 0.01

    def test_severities_rise_and_share_their_draws(self, data):
        for seed in range(20):
            recipes = data._recipes(np.random.default_rng(seed))
            last = [recipe[-1] for recipe in recipes[1:]]
            assert last[0].severity <= last[1].severity and last[0].seed == last[1].seed
            assert last[0].distortion is last[1].distortion and len(recipes[0]) in (
                len(recipes[1]),
                len(recipes[1]) - 1,
            )

    def test_hard_groups_rise_from_none_over_faint_to_seen(self, data):
        drawn = [HardGroups._recipes(data, np.random.default_rng(seed)) for seed in range(60)]
        assert all(not clean for clean, _, _ in drawn)
        steps = [(faint, seen) for _, [faint], [seen] in drawn]
        assert all(faint.severity < 0.25 and faint.severity + 0.1 < seen.severity < 0.75 for faint, seen in steps)
        assert all(faint.distortion is seen.distortion and faint.seed == seen.seed for faint, seen in steps)
        often = sum(faint.distortion.__name__ in FAINT for faint, _ in steps)
        assert 0.4 < often / len(steps) < 0.8

    def test_a_step_repeats_itself(self, portrait):
        step = Step(SEEN["noise"], 0.5, 3)
        assert np.array_equal(step(portrait), step(portrait))
        assert not np.array_equal(step(portrait), Step(SEEN["noise"], 0.5, 4)(portrait))

    @pytest.mark.slow
    def test_a_group_has_two_looks_of_three_severities(self, data):
        group = data[0]
        wide = 2 * 2 * sum(efficientnet_lite("lite0").channels)
        assert group["statistics-lite0"].shape == (2, 3, wide) and group["vif"].shape == (3,)
        assert int(group["person"]) in {person_number(source.path) for of in data.sets for source in of}

    def test_sources_are_all_pictures(self, data):
        assert [len(of) for of in data.sets] == [3, 1] and len(sources(data.sets[0][0].path.parent)) == 3


def made_up(count: int = 256, seed: int = 0):
    """Groups whose statistics are quality, luminance and noise; the naive reading of quality follows luminance."""
    torch.manual_seed(seed)
    quality = torch.rand(count, 3).sort(descending=True).values
    luminance, look = torch.rand(count), 0.02 * torch.randn(count, 2, 3, 1)
    seen = quality[:, None, :, None] + look + 0.3 * (luminance[:, None, None, None] - 0.5)
    light = luminance[:, None, None, None].expand(count, 2, 3, 1)
    samples = {
        "statistics": torch.cat([seen, light, torch.randn(count, 2, 3, 2)], dim=-1),
        "luminance": luminance,
        "busyness": torch.rand(count),
        "set": torch.randint(2, (count,)),
    }
    return samples, 100 * quality


class TestHeads:
    def test_a_head_learns_order_and_ignores_light(self):
        samples, targets = made_up()
        none = torch.empty(0)
        head = fit_groups(samples, targets, none, none, width=16, steps=400, batch=128, rate=1e-2)
        others, wanted = made_up(seed=1)
        found = grades(head, others, wanted)
        assert found["spearman"] > 0.97 and found["in_order_where_clear"] > 0.97
        assert abs(found["luminance_slope"]) < 0.5

    def test_pictures_that_generators_made_are_learned_too(self):
        samples, targets = made_up()
        fooling = torch.tensor([[1.5, 0.5, 4.0, 4.0]]).repeat(64, 1)
        none, low = torch.empty(0), torch.full((64,), 10.0)
        options = {"width": 16, "steps": 300, "batch": 128, "rate": 1e-2}
        without = fit_groups(samples, targets, none, none, **options)(fooling[:1])
        taught = fit_groups(samples, targets, fooling, low, **options)(fooling[:1])
        assert without > 60 and taught < 30

    def test_a_raised_picture_is_worth_what_it_was_and_what_full_reference_says_it_gained(self):
        material = Material.__new__(Material)
        material.target = lambda samples: samples["nlpd"]
        raised = {"nlpd": torch.tensor([[20.0, 25.0, 10.0], [5.0, 5.0, 4.0]])}
        inputs = torch.tensor([[[60.0], [90.0], [99.0]], [[0.5], [80.0], [80.0]]])
        statistics, targets = material.worth(lambda inputs: inputs[:, 0], inputs, raised)
        assert statistics.shape == (6, 1) and targets.tolist() == [60, 65, 50, 0.5, 0.5, 0]

    def test_joined_heads_give_their_mean(self):
        ones = [LiteHead(3, 4).eval() for _ in range(2)]
        inputs = torch.randn(5, 3)
        torch.testing.assert_close(joined(ones)(inputs), (ones[0](inputs) + ones[1](inputs)) / 2)

    def test_disorder_is_none_for_scores_that_fall_enough(self):
        targets = torch.tensor([[90.0, 60.0, 30.0]])
        assert disorder(torch.tensor([[[90.0, 60.0, 30.0], [80.0, 60.0, 40.0]]]), targets) == 0
        assert disorder(torch.tensor([[[30.0, 60.0, 90.0], [30.0, 60.0, 90.0]]]), targets) > 30

    def test_every_term_of_the_loss_counts(self):
        targets, places = torch.full((8, 3), 50.0), torch.randn(8, 2)
        scores = targets[:, None].expand(8, 2, 3) + places[:, :1, None]
        none = Weights(order=0, looks=0, slope=0)
        assert group_loss(scores, targets, places, Weights(order=0, looks=0)) > group_loss(
            scores, targets, places, none
        )
        apart = scores + torch.tensor([0.0, 3.0])[:, None]
        assert group_loss(apart, targets, places, Weights(order=0, slope=0)) > group_loss(apart, targets, places, none)

    def test_attributes_are_standardised_within_a_set(self):
        samples, _ = made_up()
        samples["luminance"] = samples["luminance"] + 5 * samples["set"]
        places = attributes(samples)
        for which in (0, 1):
            own = places[samples["set"] == which]
            assert own.mean(0).abs().max() < 1e-4 and (own.std(0) - 1).abs().max() < 1e-4

    def test_too_much_contrast_is_no_better_than_too_little(self):
        vif = torch.tensor([0.1, 0.5, 0.8, 1.0, 1.25, 2.0])
        targets = Target({"vif": vif, "nlpd": torch.zeros(6)})({"vif": vif, "nlpd": torch.zeros(6)})
        assert targets.argmax() == 3 and targets[2] == pytest.approx(float(targets[4])) and targets[1] == targets[5]


class TestFairness:
    @pytest.fixture(scope="class")
    @staticmethod
    def people(portrait) -> list[Person]:
        rng = np.random.default_rng(0)
        gains = rng.uniform(0.3, 1.2, 40)
        return [
            Person(f"p{n}", n, portrait * np.float32(gain), ("a", "b")[n % 2], 200.0 + n % 5)
            for n, gain in enumerate(gains)
        ]

    def test_regression_finds_the_slope_beside_set_and_size(self, people):
        regression = Regression(people)
        light = regression.places["luminance"]
        values = 20 * light + np.array([5.0 if one.group == "a" else 0.0 for one in people])
        values = values + np.array([0.1 * one.native for one in people])
        span = regression.spans(values)["luminance"]
        assert span.mean == pytest.approx(20 * tenth_means(light), rel=0.01) and span.low <= span.mean <= span.high

    def test_no_slope_is_found_where_there_is_none(self, people):
        span = Regression(people).spans(np.random.default_rng(1).normal(0, 1, 40))["luminance"]
        assert span.low < 0 < span.high


class TestGaming:
    def test_pairs_in_order(self):
        scores = np.array([3.0, 2.0, 2.5])[:, None, None]
        assert in_order(scores) == pytest.approx(2 / 3)

    def test_gains_are_compared_where_identity_fell_equally(self):
        from iqp_adapter.bench.intervals import Interval

        def row(identity, judge):
            return {
                name: Interval(value, value, value) for name, value in {"identity": identity, "judge": judge}.items()
            }

        path = [row(-0.02, 4.0), row(-0.06, 8.0)]
        assert gaming.at_equal_identity(path, 0.01, ["judge"]) == {"judge": pytest.approx(2.0)}
        assert gaming.at_equal_identity(path, 0.04, ["judge"]) == {"judge": pytest.approx(6.0)}
        assert gaming.at_equal_identity(path, 0.1, ["judge"]) is None

    @pytest.mark.parametrize("way", raising.WAYS)
    def test_every_way_raises_a_reward_step_by_step(self, way):
        def reward(images):
            return images.mean((1, 2, 3))

        tried = list(raising.tries(way, _Painter(), torch.zeros(2, 3, 4, 4), reward, (0, 2, 8)))
        assert [one.steps for one in tried] == [0, 2, 8]
        values = [float(reward(one.restored).mean()) for one in tried]
        assert values[0] < values[-1] and all(one.restored.shape == (2, 3, 4, 4) for one in tried)


class _Painter:
    """Decides one of four greys for every pixel."""

    shades = torch.tensor([0.2, 0.4, 0.6, 0.8])

    def restore(self, lq, quality=None):
        return torch.full_like(lq, 0.2)

    def deciding(self, lq, quality, scale, arguments):
        from contextlib import nullcontext

        logits = torch.tensor([1.0, 0.9, 0.8, 0.7]).expand(len(lq), 16, 4)

        def decode(weights):
            return (weights[0] @ self.shades).reshape(-1, 1, 4, 4).expand(-1, 3, -1, -1)

        return nullcontext(Decision((logits,), decode))


class TestDistortions:
    @pytest.mark.parametrize("name", SEEN | UNSEEN)
    def test_severity_goes_from_hardly_visible_to_ruin(self, name):
        from skimage.data import astronaut

        face = cv2.resize(astronaut()[:256, 96:352], (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        distortion = (SEEN | UNSEEN)[name]
        faint, middle, ruin = (
            np.abs(distort(face, distortion, severity, np.random.default_rng(0)) - face).mean()
            for severity in (0.0, 0.5, 1.0)
        )
        assert 0 < faint < 0.03 and 1.2 * faint < middle < ruin and ruin > max(0.02, 3 * faint)

    def test_the_judge_learns_from_other_distortions(self):
        assert not set(SEEN) & set(UNSEEN)
