"""Tables and files of a report: what stands in them is what was found, and what was not run is said."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from iqp_adapter.bench import writers
from iqp_adapter.bench.findings import with_findings
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.report import Column, Method, Picture, Report, differences, summary

NIQE, PSNR, FID, MUSIQ = "niqe/basicsr@native", "psnr/rgb@native", "fid/vqfr", "musiq/koniq@native"
GROUPS = ["ann", "ann", "bob", "cid"]
VALUES = np.array([20.0, 22.0, 30.0, 27.0])


@pytest.fixture
def report() -> Report:
    return Report(
        title="A title",
        columns=[
            Column(PSNR, "psnr/rgb", False, trained_on="a loss"),
            Column(NIQE, "niqe/basicsr", True, optimised=True),
            Column(FID, "fid/vqfr", True),
            Column(MUSIQ, "musiq/koniq", False, skipped="no weights here"),
        ],
        methods=[Method("input", "input", None, {"N": 4}), Method("tiny, 50%_best", "tiny", "0.5", {})],
        pictures=[Picture(f"face_{place}", group, "set") for place, group in enumerate(GROUPS)],
        values={
            "input": {PSNR: list(VALUES), NIQE: [9.0, 8.0, 9.0, 8.0]},
            "tiny, 50%_best": {PSNR: list(VALUES + 1), NIQE: [5.0, None, 6.0, 4.0]},
        },
        set_values={"input": {FID: 80.0}, "tiny, 50%_best": {FID: 50.5}},
        baseline="input",
        dial={},
        companions={NIQE: {"held out": [PSNR, FID, MUSIQ], "under identity threshold": {}, "threshold": 0.6}},
        scores={},
        images={"input": ["a.png"] * 4},
        environment={"seed": 0, "protocols": {PSNR: {"note": "of the picture"}}},
    )


class TestIntervals:
    def test_means_have_the_interval_over_people(self, report):
        assert summary(report)["input"][PSNR] == People(GROUPS).interval(VALUES)

    def test_differences_are_paired(self, report):
        assert differences(report)["tiny, 50%_best"][PSNR] == pytest.approx((1, 1, 1))
        assert "input" not in differences(report)

    def test_a_picture_without_a_value_counts_in_neither_mean(self, report):
        assert summary(report)["tiny, 50%_best"][NIQE].mean == 5
        assert differences(report)["tiny, 50%_best"][NIQE].mean == pytest.approx(((5 - 9) + (6 - 9) + (4 - 8)) / 3)

    def test_one_person_has_a_mean_and_no_interval(self, report):
        alone = replace(report, pictures=[replace(picture, group="ann") for picture in report.pictures])
        mean, low, high = summary(alone)["input"][PSNR]
        assert mean == VALUES.mean() and math.isnan(low) and math.isnan(high)

    def test_no_value_at_all_is_no_number(self, report):
        empty = replace(report, values={"input": {PSNR: [None] * 4}, "tiny, 50%_best": {}})
        assert math.isnan(summary(empty)["input"][PSNR].mean)


class TestMarkdown:
    def test_few_pictures_for_a_distance_of_sets_are_warned_of(self, report):
        line = "**Few**: 4 pictures are few for a distance of sets (2048 or more): compare at equal N only."
        assert line in writers.markdown(report)
        assert "**Few**" not in writers.markdown(replace(report, set_values={"input": {}, "tiny, 50%_best": {}}))
        many = replace(report, pictures=report.pictures * 512)
        assert "**Few**" not in writers._notes(many)

    def test_it_has_means_differences_and_what_was_not_run(self, report):
        text = writers.markdown(report)
        mean, low, high = summary(report)["input"][PSNR]
        assert f"| input | {mean:.4g} [{low:.4g}, {high:.4g}] | 8.5" in text
        assert "| tiny, 50%_best | +1 [+1, +1] | -3.667" in text and "| -29.5 |" in text
        assert "**Not run: musiq/koniq**: no weights here." in text
        assert "psnr/rgb ↑ †" in text and "niqe/basicsr ↓ ‡" in text

    def test_fewer_pictures_are_said(self, report):
        assert "(N = 3)" in writers.markdown(report)

    def test_held_out_metrics_are_those_that_were_run(self, report):
        assert "Held out: psnr/rgb, fid/vqfr." in writers.markdown(report)
        assert "Faces of another person were not counted" in writers.markdown(report)


class TestFiles:
    def test_json_gives_the_report_back(self, report, tmp_path):
        dialled = replace(report, dial={"tiny": [{"quality": 0.5, "means": summary(report)["input"]}]})
        writers.write_all(dialled, tmp_path)
        again = writers.read_report(tmp_path / "report.json")
        assert again.columns == report.columns and again.methods == report.methods
        assert again.pictures == report.pictures and again.values == report.values
        assert again.dial["tiny"][0]["means"][PSNR] == pytest.approx(summary(report)["input"][PSNR], rel=1e-5)
        written = json.loads((tmp_path / "report.json").read_text())
        assert written["differences"]["tiny, 50%_best"][PSNR] == {"mean": 1.0, "low": 1.0, "high": 1.0}

    def test_json_has_null_where_no_number_is(self, report):
        alone = replace(report, pictures=[replace(picture, group="ann") for picture in report.pictures])
        assert json.loads(writers.as_json(alone))["summary"]["input"][PSNR]["low"] is None

    def test_csv_has_a_row_for_every_mean_and_for_every_picture(self, report, tmp_path):
        writers.write_all(report, tmp_path)
        means = list(csv.DictReader((tmp_path / "report.csv").open()))
        assert {(row["method"], row["protocol"]) for row in means} == {
            (method, column) for method in report.values for column in (PSNR, NIQE, FID)
        }
        niqe = next(row for row in means if row["method"] != "input" and row["protocol"] == NIQE)
        assert (float(niqe["mean"]), niqe["N"], niqe["better"]) == (5.0, "3", "lower")
        pictures = list(csv.DictReader((tmp_path / "pictures.csv").open()))
        assert len(pictures) == 8 and pictures[5][NIQE] == "" and float(pictures[5][PSNR]) == 23

    def test_latex_is_escaped_and_has_the_best_in_bold(self, report):
        text = writers.latex(report)
        assert r"tiny, 50\%\_best & \textbf{25.75} & \textbf{5} & \textbf{50.5} \\" in text
        assert r"niqe/basicsr $\downarrow$" in text and "% not run: musiq/koniq@native: no weights here" in text
        assert text.count("&") == 3 * 3

    def test_every_latex_sign_is_escaped(self):
        assert writers._tex("a_b\\c{d}~&") == r"a\_b\textbackslash{}c\{d\}\textasciitilde{}\&"


class TestFindings:
    def test_the_dial_is_what_was_asked_in_numbers(self, report):
        levels = [Method(f"tiny, {q}", "tiny", q, {}) for q in ("1", "best", "0", "0.25")]
        row = report.values["input"]
        found = with_findings(replace(report, methods=levels, values={m.name: row for m in levels}), [])
        assert [point["quality"] for point in found.dial["tiny"]] == [0, 0.25, 1]
        assert found.dial["tiny"][0]["means"][PSNR].mean == VALUES.mean()

    def test_one_level_is_no_curve(self, report):
        assert with_findings(report, []).dial == {}

    def test_a_raised_metric_has_companions_that_nobody_raises_or_learns_from(self, report):
        columns = [*report.columns, Column("identity/dlib", "identity/dlib", True)]
        values = {name: row | {"identity/dlib": [0.7, 0.5, None, 0.61]} for name, row in report.values.items()}
        guards = with_findings(replace(report, columns=columns, values=values), []).companions
        assert list(guards) == [NIQE]
        assert guards[NIQE]["held out"] == [FID, MUSIQ, "identity/dlib"]
        assert guards[NIQE]["under identity threshold"] == {"input": 2, "tiny, 50%_best": 2}
        assert guards[NIQE]["threshold"] == 0.6

    def test_named_scores_take_the_values_of_each_method(self, report):
        scores = with_findings(report, ["ntire2026"]).scores["ntire2026"]
        assert scores["input"]["terms"] == pytest.approx({"NIQE": 0.15, "FID": 0.2})
        assert scores["tiny, 50%_best"]["terms"] == pytest.approx({"FID": 0.495})  # one picture has no NIQE
        text = writers.markdown(with_findings(report, ["ntire2026"]))
        assert "## ntire2026" in text and "0.3500 (incomplete)" in text and "not run" in text
