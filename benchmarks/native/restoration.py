"""Does it restore? The model against its input, against itself without a preference and against a model without a dial.

python -m benchmarks.native.restoration --model tiny --faces FACES/val --unconditioned FOLDER
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.judges import JUDGES, Panel, Scores
from benchmarks.native import report
from benchmarks.native.pictures import FacesOption, ModelOption, SeedsOption, load_model, load_pictures, restore
from benchmarks.native.report import RESULTS, OutOption
from benchmarks.native.second_metric import chosen
from iqp_adapter.bench.intervals import People

AGAINST_INPUT = ("iqp-lite", "niqe", "piqe", "perceptual-lite2")
NEARNESS = ("perceptual-lite2", "identity")
"""By these `best` and a rival are made equally near the originals before their quality is compared."""

Claim = dict[str, Any]


class Court(NamedTuple):
    """Compares two methods picture by picture, with intervals over people."""

    panel: Panel
    people: People

    def beats(self, text: str, judge: str, ours: Scores, theirs: Scores) -> Claim:
        """Whether ours are better than theirs by a judge, and on which share of the pictures."""
        gain = self.panel.gain(judge, ours[judge], theirs[judge])
        verdict = report.claim(f"{text} on {self.panel.label(judge)}", self.people.interval(gain))
        return verdict | {"share of pictures": float(np.mean(gain > 0))}

    def beats_at_equal(
        self, nearness: str, text: str, judge: str, ours: Iterable[tuple[float, Scores]], theirs: Scores
    ) -> Claim:
        """The same, with ours at the first fidelity at which they are no farther from the originals than theirs."""
        for fidelity, scores in ours:
            gain = self.panel.gain(nearness, scores[nearness], theirs[nearness])
            if gain.mean() >= 0:
                text = f"{text}, no farther from the originals by {nearness} (fidelity {fidelity:g}),"
                return self.beats(text, judge, scores, theirs) | {f"gain in {nearness}": self.people.interval(gain)}
        return {
            "claim": f"{text}, no farther from the originals by {nearness}, on {self.panel.label(judge)}",
            "holds": False,
            "why": "it is farther at every fidelity",
        }


def judges(second: str) -> list[str]:
    """All judges; of those for enlarged pictures only the chosen one."""
    return [name for name in JUDGES if "@" not in name or name == second]


def main(
    model: ModelOption,
    faces: FacesOption,
    unconditioned: Annotated[Path | None, typer.Option(help="a model without a dial, trained for equal steps")] = None,
    seeds: SeedsOption = 5,
    out: OutOption = RESULTS,
) -> None:
    """Every judge on every method, and what of it is certain enough to be claimed."""
    started, second = time.perf_counter(), chosen(out)
    panel, network = Panel(judges(second)), load_model(model)
    pictures = load_pictures(faces, network.resolution, seeds)
    degraded, original = pictures.degraded, pictures.original
    court = Court(panel, People(pictures.people))

    bicubic = load_pictures(faces, network.resolution, seeds, enlarge="cubic").degraded
    images = {"bicubic": bicubic} | {q: restore(network, degraded, quality=q) for q in ("best", "any")}
    if unconditioned is not None:
        images["unconditioned"] = restore(load_model(unconditioned), degraded)
    scores = {method: panel(image, original) for method, image in images.items()}

    few = [second, *(name for name in NEARNESS if name in panel.judges)]

    @cache
    def best_at(fidelity: float) -> Scores:
        return panel(restore(network, degraded, quality="best", fidelity=fidelity), original, only=few)

    claims = [court.beats("best beats bicubic", judge, scores["best"], scores["bicubic"]) for judge in AGAINST_INPUT]
    for rival in list(images)[2:]:
        for nearness in few[1:]:
            ours = ((w, best_at(w)) for w in np.linspace(network.fidelity, 1, 5).tolist())
            claims.append(court.beats_at_equal(nearness, f"best beats {rival}", second, ours, scores[rival]))

    rows = report.summary(scores, court.people)
    facts = report.provenance(0, faces, model=model, unconditioned=unconditioned)
    content = {"methods": rows, "claims": claims, "fidelity": network.fidelity, "judges": panel.describe()}
    content |= {"seconds": time.perf_counter() - started}
    report.write_json(out / "restoration.json", content | facts)
    text = report.table("Restoration", rows, panel) + "\n" + report.claims_list(claims)
    report.write_text(out / "restoration.md", text)


if __name__ == "__main__":
    typer.run(main)
