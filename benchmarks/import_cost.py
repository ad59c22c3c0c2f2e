"""What an import costs: `import iqp_adapter`, and all its public names, beside `import torch`.

    python -m benchmarks.import_cost

Processes of their own, interleaved (torch, ours, torch, ours, ...), after one of each that is not counted; the ratio is
the median over pairs, with its 95 % interval by bootstrap. Nothing else should run meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.results import RESULTS, ROOT, provenance, write_json
from benchmarks.common.timing import in_turn, ratio

RESULT = RESULTS / "import_cost.json"
TORCH = "import torch"
OURS = {
    "import iqp_adapter": "import iqp_adapter",
    "import of every public name": "from iqp_adapter import *",
}


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def compare(code: str, pairs: int) -> dict[str, Any]:
    """Seconds of torch and of ours in turn, and the median ratio of the pairs."""
    times = in_turn({"torch": partial(run, TORCH), "ours": partial(run, code)}, pairs)
    return {**ratio(times["ours"], times["torch"]), "seconds": times}


def main(
    pairs: Annotated[int, typer.Option(min=15, help="Pairs of each comparison.")] = 15,
    out: Annotated[Path, typer.Option("-o", "--out", help="File of the result.")] = RESULT,
) -> None:
    """Measures, prints and writes the ratios."""
    report: dict[str, Any] = {name: compare(code, pairs) for name, code in OURS.items()}
    for name, result in report.items():
        low, high = result["interval"]
        typer.echo(f"{name}: {result['ratio']:.3f} x import torch, 95 % interval {low:.3f} to {high:.3f}")
    write_json(out, report | provenance(0))


if __name__ == "__main__":
    typer.run(main)
