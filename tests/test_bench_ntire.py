"""The NTIRE score on given values: arithmetic, aggregation and gate, as the evaluation codes do them."""

from __future__ import annotations

import numpy as np
import pytest

from iqp_adapter.bench import ntire
from iqp_adapter.bench.protocols import PROTOCOLS

MEANS = {
    "clipiqa/rn50@native": 0.9,
    "maniqa/koniq@native": 0.6,
    "musiq/koniq@native": 75.0,
    "niqe/basicsr@native": 4.0,
    "qalign/one-align@native": 4.5,
}


def scored(datasets=("CelebA", "LFW-Test"), fid=40.0, variant="ntire2026", **changed):
    values = {name: [mean] * len(datasets) for name, mean in (MEANS | changed).items()}
    return ntire.score(variant, values, {} if fid is None else {ntire.FID: fid}, list(datasets))


def official(value_of) -> tuple[list[str], list[float]]:
    datasets = [name for name, count in ntire.SIZES.items() for _ in range(count)]
    return datasets, [value_of(name) for name in datasets]


def test_every_term_is_a_protocol():
    assert set(ntire.PROTOCOLS) <= set(PROTOCOLS)


class TestArithmetic:
    def test_the_sum_of_the_six_terms(self):
        result = scored()
        assert result["terms"] == pytest.approx(
            {"CLIPIQA": 0.9, "MANIQA": 0.6, "MUSIQ": 0.75, "NIQE": 0.6, "QALIGN": 0.9, "FID": 0.6}
        )
        assert result["score"] == pytest.approx(4.35)
        assert result["complete"] and result["not run"] == [] and result["N"] == 2

    def test_niqe_and_fid_give_nothing_below_nothing(self):
        terms = scored(fid=130.0, **{"niqe/basicsr@native": 12.0})["terms"]
        assert (terms["NIQE"], terms["FID"]) == (0, 0)

    def test_a_missing_term_is_named_and_the_rest_is_summed(self):
        result = scored(fid=None)
        assert result["not run"] == ["FID"] and not result["complete"]
        assert result["score"] == pytest.approx(3.75)

    def test_a_term_without_a_value_for_some_picture_is_not_run(self):
        values = {"niqe/basicsr@native": [4.0, None]}
        result = ntire.score("ntire2025", values, {}, ["CelebA", "CelebA"])
        assert result["terms"] == {} and result["score"] is None

    def test_an_unknown_variant_is_refused(self):
        with pytest.raises(ValueError, match="unknown score 'ntire2024'; there are ntire2025, ntire2026, ntire2026-re"):
            scored(variant="ntire2024")


class TestAggregation:
    def test_of_the_official_sets_it_is_the_mean_over_pictures(self):
        datasets, values = official(lambda name: {"CelebA": 1.0, "CelebChild-Test": 4.0}.get(name, 2.0))
        assert ntire.aggregate(values, datasets) == pytest.approx(np.mean(values)) == pytest.approx(2.0)

    def test_official_sets_keep_their_weights_whatever_their_sizes(self):
        datasets = [*ntire.SIZES, "CelebChild-Test"]
        values = [4.5 if name == "CelebChild-Test" else 0.0 for name in datasets]
        assert ntire.aggregate(values, datasets) == pytest.approx(4.5 * 50 / 450)

    def test_other_sets_weigh_as_much_as_they_have_pictures(self):
        assert ntire.aggregate([1.0, 1.0, 4.0], ["a", "a", "b"]) == pytest.approx(2.0)

    def test_a_missing_value_gives_no_mean(self):
        assert ntire.aggregate([1.0, None], ["a", "a"]) is None


class TestGate:
    def likeness(self, below: int, name: str = "Wider-Test", value: float = 0.19):
        datasets, values = official(lambda name: 0.9)
        for place in [place for place, at in enumerate(datasets) if at == name][:below]:
            values[place] = value
        return values, datasets

    def gate(self, variant, *likeness):
        return ntire.gate(ntire.THRESHOLDS[variant], *likeness)

    @pytest.mark.parametrize(("below", "valid"), [(0, True), (10, True), (11, False)])
    def test_ten_faces_may_be_strange(self, below, valid):
        gate = self.gate("ntire2026", *self.likeness(below))
        assert (gate["valid"], gate["below"], gate["allowed"]) == (valid, below, 10)
        assert gate["below by set"]["Wider-Test"] == below and gate["below by set"]["CelebA"] == 0

    @pytest.mark.parametrize(
        ("name", "likeness", "below"),
        [
            ("Wider-Test", 0.25, {"ntire2025": 1, "ntire2026": 0, "ntire2026-readme": 1}),
            ("WebPhoto-Test", 0.27, {"ntire2025": 1, "ntire2026": 0, "ntire2026-readme": 1}),
            ("WebPhoto-Test", 0.24, {"ntire2025": 1, "ntire2026": 1, "ntire2026-readme": 1}),
            ("CelebA", 0.55, {"ntire2025": 0, "ntire2026": 0, "ntire2026-readme": 0}),
            ("LFW-Test", 0.55, {"ntire2025": 1, "ntire2026": 1, "ntire2026-readme": 1}),
            ("CelebChild-Test", 0.55, {"ntire2025": 1, "ntire2026": 1, "ntire2026-readme": 1}),
        ],
    )
    def test_the_variants_differ_where_their_sources_do(self, name, likeness, below):
        found = {variant: self.gate(variant, *self.likeness(1, name, likeness))["below"] for variant in below}
        assert found == below

    def test_as_like_as_the_threshold_is_like_enough(self):
        assert self.gate("ntire2025", [0.3], ["Wider-Test"])["below"] == 0

    def test_the_gate_is_no_part_of_the_score(self):
        strange = scored(**{ntire.GATE: -1.0})
        assert strange["score"] == scored()["score"] and strange["gate"]["below"] == 2

    def test_without_likeness_nobody_knows(self):
        assert "was not run" in scored()["gate"]["not run"]
        assert "was not run" in ntire.gate(ntire.THRESHOLDS["ntire2025"], [None], ["CelebA"])["not run"]

    def test_a_set_without_a_threshold_is_named(self):
        assert self.gate("ntire2025", [0.9], ["dev"]) == {"not run": "no threshold for the test set dev"}
