"""What the Hub, proxies and servers do instead of sending a file: it comes whole, or one line says why it does not."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common.results import ROOT


def campaign(folder: Path) -> Iterator[Counter[str]]:
    """Counts of all faults that the tests' server of the Hub knows, at once."""
    sys.path.insert(0, str(ROOT / "tests"))
    import hub_faults

    results = hub_faults.attempts(folder / "home")
    counts = Counter(files=len(results), read=sum(result.right for result in results))
    counts["refused"] = sum(result.refused for result in results)
    counts["hangs"] = sum(result.seconds > hub_faults.LASTS for result in results)
    counts["traces"] = sum(not result.right and not result.said.startswith("OSError: ") for result in results)
    counts["unnamed"] = len(results) - counts["read"] - counts["refused"] - counts["traces"]
    yield counts
