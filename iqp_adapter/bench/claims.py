"""Claims that one method is better than another, and whether the intervals over people support them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .intervals import Interval, People
from .panel import Panel, Scores

Claim = dict[str, Any]
"""Ready for JSON: `claim`, `holds` and `gain`, or `why` where there is no gain to state."""


def claim(text: str, gain: Interval) -> Claim:
    """A claim holds when the interval of the gain lies above zero."""
    return {"claim": text, "holds": gain.low > 0, "gain": gain}


class Comparison(NamedTuple):
    """Compares two methods picture by picture, with intervals over people."""

    panel: Panel
    people: People

    def better(self, text: str, judge: str, ours: Scores, theirs: Scores) -> Claim:
        """Whether ours are better than theirs by a judge, and on which share of the pictures."""
        gain = self.panel.gain(judge, ours[judge], theirs[judge])
        found = claim(f"{text} on {self.panel.label(judge)}", self.people.interval(gain))
        return found | {"share of pictures": float(np.mean(gain > 0))}

    def better_by_all(self, text: str, ours: Scores, theirs: Scores) -> list[Claim]:
        """The same by every judge of the panel."""
        return [self.better(text, judge, ours, theirs) for judge in self.panel.judges]

    def better_at_equal(
        self, nearness: str, text: str, judge: str, ours: Iterable[tuple[float, Scores]], theirs: Scores
    ) -> Claim:
        """The same where both are equally near the originals.

        Args:
            nearness: the judge of nearness.
            ours: fidelity weights in rising order, with the scores at each; the first one at which ours are no farther
                from the originals than theirs is compared.
        """
        for fidelity, scores in ours:
            gain = self.panel.gain(nearness, scores[nearness], theirs[nearness])
            if gain.mean() >= 0:
                text = f"{text}, no farther from the originals by {nearness} (fidelity {fidelity:g}),"
                return self.better(text, judge, scores, theirs) | {f"gain in {nearness}": self.people.interval(gain)}
        return {
            "claim": f"{text}, no farther from the originals by {nearness}, on {self.panel.label(judge)}",
            "holds": False,
            "why": "it is farther at every fidelity",
        }


def claims_list(claims: Sequence[Mapping[str, Any]]) -> str:
    """Claims and whether they hold, as a Markdown list."""
    results = {True: "holds", False: "**does not hold**"}
    return "".join(f"- {results[one['holds']]}: {one['claim']}: {one.get('gain') or one['why']}\n" for one in claims)
