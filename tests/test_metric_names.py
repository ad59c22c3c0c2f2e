"""Names of metrics: versions, ensembles, and what a name without a version means now and in a file."""

from __future__ import annotations

import pytest

from iqp_adapter import ScoreScale
from iqp_adapter.bench.protocols import find
from iqp_adapter.core import metrics
from iqp_adapter.core.metrics import (
    as_saved,
    canonical,
    families,
    family,
    is_computed,
    members,
    share_a_family,
    versions,
)
from iqp_adapter.scoring.scorer import Scorer, reward_of


@pytest.fixture(autouse=True)
def third(monkeypatch):
    """A table of its own, so that nothing here depends on what ships."""
    monkeypatch.setitem(metrics.NEWEST, "iqp-lite", 3)


@pytest.mark.parametrize(
    ("name", "now", "saved"),
    [
        ("iqp-lite", "iqp-lite@3", "iqp-lite@1"),
        ("iqp-lite@2", "iqp-lite@2", "iqp-lite@2"),
        ("niqe", "niqe", "niqe"),
        ("iqp-litee", "iqp-litee", "iqp-litee"),
        (" mean ( niqe,iqp-lite,\n piqe) ", "mean(niqe, iqp-lite@3, piqe)", "mean(niqe, iqp-lite@1, piqe)"),
        ("mean(iqp-lite@2, niqe)", "mean(iqp-lite@2, niqe)", "mean(iqp-lite@2, niqe)"),
        (" minmax-mean (niqe,iqp-lite)", "minmax-mean(niqe, iqp-lite@3)", "minmax-mean(niqe, iqp-lite@1)"),
    ],
)
def test_a_name_without_a_version_is_the_newest_now_and_the_first_in_a_file(name, now, saved):
    assert (canonical(name), as_saved(name)) == (now, saved)
    assert canonical(now) == now and as_saved(saved) == saved


def test_a_scale_keeps_the_canonical_name_and_reads_files_of_earlier_releases():
    made = ScoreScale("iqp-lite", False, (0.0, 1.0))
    assert made.metric == "iqp-lite@3" and ScoreScale.from_dict(made.to_dict()) == made
    assert ScoreScale.from_dict(made.to_dict() | {"metric": "iqp-lite"}).metric == "iqp-lite@1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean(niqe, mean(piqe, iqp-lite))", "is an ensemble in an ensemble; name all members in one"),
        ("mean(niqe)", "needs two or more members, like"),
        ("mean()", "needs two or more members"),
        ("mean(niqe, )", "needs two or more members"),
        ("mean(niqe, piqe, niqe)", "has niqe twice; name every member once"),
        ("mean(iqp-lite, iqp-lite@3)", "has iqp-lite@3 twice"),
        ("minmax-mean(niqe)", "needs two or more members"),
        ("mean(niqe, minmax-mean(piqe, iqp-lite))", "is an ensemble in an ensemble"),
        ("minmax-mean(niqe, piqe", "has no closing bracket at its end"),
        ("mean(niqe, piqe", "has no closing bracket at its end"),
    ],
)
def test_what_is_no_ensemble_is_said_in_one_line(name, message):
    with pytest.raises(ValueError, match=message) as error:
        canonical(name)
    assert "\n" not in str(error.value)


def test_versions_are_one_family_and_members_bring_theirs():
    assert versions("iqp-lite") == ("iqp-lite@1", "iqp-lite@2", "iqp-lite@3") and versions("niqe") == ()
    assert family("iqp-lite@2") == family("iqp-lite") == "iqp-lite" and family("niqe") == "niqe"
    assert members("niqe") == () and members("mean(niqe, iqp-lite)") == ("niqe", "iqp-lite@3")
    assert families("mean(niqe, iqp-lite, iqp-lite@1)") == ("niqe", "iqp-lite")
    assert share_a_family("iqp-lite@1", "mean(niqe, iqp-lite@3)")
    assert not share_a_family("iqp-colour", "mean(niqe, iqp-lite)")
    assert share_a_family("minmax-mean(musiq-gfiqa, topiq_nr-face-v1)", "topiq_nr-face-v1")


@pytest.mark.parametrize("name", ["musiq-gfiqa", "mean(musiq-gfiqa, niqe)", "minmax-mean(niqe, musiq-gfiqa)"])
def test_what_scores_no_picture_is_refused_where_pictures_are_scored(name):
    for use in (Scorer, find, lambda metric: reward_of(metric, "cpu", differentiable=True)):
        with pytest.raises(ValueError, match="scores no picture: the weights of MUSIQ-GFIQA are not public") as error:
            use(name)
        assert "\n" not in str(error.value)
    assert not is_computed(name) and is_computed("mean(musiq, niqe)")
    assert ScoreScale(name, False, (0.0, 1.0)).metric == name  # a condition it can be
