"""Does an adapter improve an existing host? Compared with the bare host, and with the host trained further without one.

python -m benchmarks.hosts.compare --run RUN --host codeformer --faces FACES/val --faces PORTRAITS/val \
    --recipe distilled -o benchmarks/results/hosts

Uses every seed of every recipe that `benchmarks.hosts.adapt` trained in the host's run. The claim and the dial are of
the recipe that is named, which is chosen on dev.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

import iqp_adapter as iqp
from benchmarks.common.inputs import Pictures, SeedsOption, load_pictures, restore
from benchmarks.common.judges import panel_of
from benchmarks.common.records import hours_of
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.sets import SetsOption, check_sets, set_name
from benchmarks.common.sheets import write_sheet
from benchmarks.hosts import small
from benchmarks.hosts.adapt import TIMES, example_of
from benchmarks.hosts.recipes import RECIPES, Adapted, Further
from benchmarks.hosts.small import load_host
from benchmarks.native.dial import LEVELS
from iqp_adapter.bench.curves import DialCurves, dial_curves
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import NOTE, Panel, Rows, Scores, mean_scores, summary
from iqp_adapter.hosts.registry import hosts
from iqp_adapter.training.record import Record

DRIVING = "iqp-lite"
"""The metric of the condition."""

COUNTED = ("iqp-judge", "niqe@512", "piqe", "ssim", "fsim", "vsi", "gmsd")
"""Judges that nothing learned from, of each family one; NIQE enlarged, since it sees four blocks only at 256 px."""

MARGINS = {"identity": -0.01, "perceptual-lite2": -0.02}
"""What a host may lose at most, as the lower end of the interval; fixed on dev."""

JUDGES = (DRIVING, *COUNTED, "niqe", "psnr", "vif", "nlpd", *MARGINS)
SECOND = "niqe@512"
"""The dial's second metric. PIQE of enlarged pictures orders the ladder a little better on dev (`second_metric.json`),
but gives every restoration of 128 px its worst score, 100."""

BARE, INPUT, ANY = "bare", "input", "any"


class Trained(NamedTuple):
    """What `benchmarks.hosts.adapt` made of a recipe: the model of every seed, in the order of the seeds."""

    recipe: Adapted | Further
    models: list[Path]

    @property
    def cost(self) -> dict[str, float]:
        """Updates of one seed, and the mean hours of one; hours of a search count where they were spent."""
        runs = [model.parents[len(self.recipe.model.split("/")) - 1] for model in self.models]
        starts = [row for run in runs for row in Record(run / TIMES).rows()]
        return {
            "updates": self.recipe.parts * max((row["step"] for row in starts), default=0),
            "hours": sum(sum(hours_of(run).values()) for run in runs) / len(runs),
            "hours of search": sum(row["searched"] for row in starts) / 60 / len(runs),
        }


def recipes_in(run: Path) -> dict[str, Trained]:
    """Every recipe with a finished model, by its name, with the kind of block where that is not attention."""
    found: dict[str, Trained] = {}
    for folder in sorted(run.glob("*-[0-9]")):
        name = folder.name.rpartition("-")[0]
        recipe = next(
            (RECIPES[known] for known in sorted(RECIPES, key=len, reverse=True) if name.startswith(known)), None
        )
        if recipe is not None and (folder / recipe.model / "config.json").exists():
            found.setdefault(name, Trained(recipe, [])).models.append(folder / recipe.model)
    return found


class Subjects:
    """A host in every form in which it is compared, rounded to half precision.

    Args:
        host: its name.
        run: folder of its run.
        side: of its pictures, in pixels.
        scale: strength of what adapters add.
    """

    def __init__(self, host: str, run: Path, side: int, scale: float = 1.0):
        self.host, self.run, self.side, self.scale = host, run, side, scale
        self.trained = recipes_in(run)

    def bare(self, folder: str = "") -> iqp.WrappedHost:
        """The host as it was trained, or as a folder of the run has it."""
        how: dict[str, Any] = (
            {} if self.host in hosts() else {"sites": "auto", "example": example_of(self.host, self.side)}
        )
        return iqp.wrap(load_host(self.host, self.run, folder, self.side), **how)

    @property
    def rivals(self) -> list[str]:
        """What an adapter has to beat: the bare host, and the host that learned further."""
        return [BARE, *(name for name, one in self.trained.items() if isinstance(one.recipe, Further))]

    def models(self, name: str) -> list[iqp.WrappedHost]:
        """Those of every seed of a recipe."""
        trained = self.trained[name]
        if isinstance(trained.recipe, Further):
            return [self.bare(model.parent.name) for model in trained.models]
        models = [iqp.wrap(load_host(self.host, self.run, side=self.side), adapter=path) for path in trained.models]
        for model in models:
            model.adapters.half().float()
            model.scale = self.scale
        return models


class Restored(NamedTuple):
    """What every method makes of a set, by its name: values (N,) of every judge."""

    people: People
    scores: dict[str, Scores]


def look(subjects: Subjects, pictures: Pictures, panel: Panel, recipe: str) -> Restored:
    """Input, bare host, and every recipe: adapters at "best", that of the recipe at "any" too."""

    def judged(models: Sequence[iqp.WrappedHost], quality: float | str | None = None) -> Scores:
        return mean_scores(
            [panel(restore(model, pictures.degraded, quality=quality), pictures.original) for model in models]
        )

    scores = {INPUT: panel(pictures.degraded, pictures.original), BARE: judged([subjects.bare()])}
    for name, trained in subjects.trained.items():
        scores[name] = judged(subjects.models(name), "best" if isinstance(trained.recipe, Adapted) else None)
    return Restored(People(pictures.people), scores | {f"{recipe}, {ANY}": judged(subjects.models(recipe), ANY)})


def gains(restored: Restored, rival: str, panel: Panel) -> Rows:
    """By how much every other method is better than a rival, paired by picture; positive is better by every judge."""
    people, scores = restored
    return {
        method: {judge: people.interval(panel.gain(judge, of[judge], scores[rival][judge])) for judge in of}
        for method, of in scores.items()
        if method not in (rival, INPUT)
    }


def verdict(gain: Mapping[str, Any], panel: Panel) -> dict[str, Any]:
    """Whether a gain is what we claim: two judges that nothing learned from rise, and neither margin is lost.

    Args:
        gain: interval by the name of the judge.
    """
    fair = [name for name in COUNTED if name in gain and not panel.judges[name].trained_on]
    rising = [name for name in fair if gain[name].low > 0]
    falling = [name for name in fair if gain[name].high < 0]
    lost = [name for name, margin in MARGINS.items() if name in gain and gain[name].low <= margin]
    unknown = [name for name in MARGINS if name not in gain]
    return {
        "holds": len(rising) >= 2 and not lost and not unknown,
        "rising": rising,
        "falling": falling,
        "lost": lost,
        "not judged": unknown,
    }


def dial_of(models: Sequence[iqp.WrappedHost], pictures: Pictures, panel: Panel) -> DialCurves:
    """By the driving and the second metric, the means over seeds of training."""
    names = (DRIVING, SECOND)

    def at(level: float) -> Scores:
        restored = (restore(model, pictures.degraded, quality=level) for model in models)
        return mean_scores([panel(images, pictures.original, only=names) for images in restored])

    levels = [at(float(level)) for level in LEVELS]
    values = {name: np.stack([scores[name] for scores in levels]) for name in names}  # (L, N) each
    return dial_curves(LEVELS, values, People(pictures.people), panel)


def worst(subjects: Subjects, pictures: Pictures, panel: Panel, recipe: str, count: int = 6) -> dict[str, Any]:
    """The pictures whose perceptual distance the first seed's adapter worsens most, in columns."""
    models = {BARE: subjects.bare(), recipe: subjects.models(recipe)[0]}
    made = {
        name: restore(model, pictures.degraded, quality=None if name == BARE else "best")
        for name, model in models.items()
    }
    judge = "perceptual-lite2"
    scores = {name: panel(images, pictures.original, only=[judge])[judge] for name, images in made.items()}
    places = np.argsort(panel.gain(judge, scores[recipe], scores[BARE]))[:count]
    columns = {"degraded": pictures.degraded, **made, "original": pictures.original}
    return {name: images[places] for name, images in columns.items()}


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    faces: SetsOption,
    recipe: Annotated[str, typer.Option(help="of the claim and the dial; with its block where not attention")],
    host: str = "codeformer",
    side: Annotated[int, typer.Option(help="of the host's pictures, in pixels")] = small.RESOLUTION,
    scale: Annotated[float, typer.Option(help="strength of what adapters add; 1 is as trained")] = 1.0,
    seeds: SeedsOption = 2,
    failures: Annotated[Path | None, typer.Option(help="folder for sheets of the worst pictures")] = None,
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Every method by every judge on every set, the claim, the dial, and what each recipe gains at which cost."""
    started, panel, subjects = time.perf_counter(), panel_of(JUDGES), Subjects(host, run, side, scale)
    check_sets(faces)
    check_recipe(recipe, subjects.trained)
    out.mkdir(parents=True, exist_ok=True)
    sets: dict[str, Any] = {}
    for folder in faces:
        name, pictures = set_name(folder), load_pictures(folder, side, seeds, **small.DEGRADATION)
        restored = look(subjects, pictures, panel, recipe)
        over = {rival: gains(restored, rival, panel) for rival in subjects.rivals}
        dial = dial_of(subjects.models(recipe), pictures, panel)
        dial.draw(out / f"{host}-dial-{name.replace('/', '-')}.png")
        sets[name] = {
            "methods": summary(restored.scores, restored.people),
            "gains": over,
            "claims": {rival: verdict(rows[recipe], panel) for rival, rows in over.items()},
            "dial": {"holds": all(of["holds"] for of in dial.results.values()), **dial.results},
            "curves": dial.means,
        }
        if failures is not None:
            sheet = worst(subjects, pictures, panel, recipe)
            write_sheet(failures / f"{host}-{name.replace('/', '-')}-worst.png", sheet)
    content = {
        "host": host,
        "side": side,
        "recipe": recipe,
        "scale": scale,
        "seeds of training": len(subjects.trained[recipe].models),
        "holds": {rival: all(of["claims"][rival]["holds"] for of in sets.values()) for rival in subjects.rivals},
        "dial holds": all(of["dial"]["holds"] for of in sets.values()),
        "costs": {name: trained.cost for name, trained in subjects.trained.items()},
        "sets": sets,
        "margins": MARGINS,
        "levels": LEVELS,
        "judges": panel.describe(),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / f"{host}.json", content | provenance(0, faces))
    write_text(out / f"{host}.md", markdown(content, panel))


def check_recipe(recipe: str, trained: Mapping[str, Trained]) -> None:
    """
    Raises:
        typer.BadParameter: for a recipe without an adapter in the run.
    """
    known = [name for name, one in trained.items() if isinstance(one.recipe, Adapted)]
    if recipe not in known:
        raise typer.BadParameter(
            f"no finished adapter of {recipe!r} in the run; there are {', '.join(known) or 'none'}"
        )


def markdown(content: Mapping[str, Any], panel: Panel) -> str:
    """The claims, what each recipe gains at which cost, and the values of every set."""
    tables = {"Claims": claim_lines(content), "Recipes": cost_lines(content, panel)}
    for name, of in content["sets"].items():
        tables[name] = panel.lines(of["methods"])
        tables |= {f"{name}: gain over {rival}": panel.lines(rows) for rival, rows in of["gains"].items()}
    claim = " and ".join(f"{name} {margin:g}" for name, margin in MARGINS.items())
    notes = [
        NOTE,
        "Gains are paired by picture; positive is better by every judge. The claim holds where the intervals of two or",
        f"more of {', '.join(COUNTED)} lie above 0, and those of {claim} do not reach lower than that.",
        *([] if content["scale"] == 1 else [f"Adapters add at {content['scale']:g} of their strength."]),
        "Costs are of one seed; a search is made once for the recipes that share it.",
        *(f"Skipped: {name}, {reason}." for name, reason in panel.skipped.items()),
    ]
    return page(f"Adapters for {content['host']}, {content['side']} px", " ".join(notes), tables)


def claim_lines(content: Mapping[str, Any]) -> list[list[str]]:
    """One row for each set and rival, and one for its dial."""
    rows = [["set", f"{content['recipe']} at best against", "holds", "rising", "falling", "lost"]]
    for name, of in content["sets"].items():
        for rival, one in of["claims"].items():
            said = [", ".join(one[part]) for part in ("rising", "falling", "lost")]
            rows.append([name, rival, "yes" if one["holds"] else "no", *said])
        dial = [f"{judge}: {one['spearman'].mean:.2f}" for judge, one in of["dial"].items() if judge != "holds"]
        rows.append([name, "its dial (Spearman)", "yes" if of["dial"]["holds"] else "no", ", ".join(dial), "", ""])
    return rows


def cost_lines(content: Mapping[str, Any], panel: Panel) -> list[list[str]]:
    """One row for each recipe on each set: cost, and gain over the bare host."""
    shown = [DRIVING, *(name for name in (*COUNTED, *MARGINS) if name in panel.judges)]
    rows = [["recipe", "updates", "hours", "hours of search", "set", *map(panel.label, shown), "claim"]]
    for name, cost in content["costs"].items():
        for place, of in content["sets"].items():
            gain = of["gains"][BARE][name]
            holds = "yes" if verdict(gain, panel)["holds"] else "no"
            spent = [f"{cost['updates']:g}", f"{cost['hours']:.2f}", f"{cost['hours of search']:.2f}"]
            rows.append([name, *spent, place, *(str(gain[judge]) for judge in shown), holds])
    return rows


if __name__ == "__main__":
    typer.run(main)
