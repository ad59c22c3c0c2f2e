"""What an import costs: `import iqp_adapter`, and all its public names, beside `import torch`.

    python benchmarks/import_cost.py

Processes of their own, interleaved (torch, ours, torch, ours, ...), after one of each that is not counted; the ratio is
the median over pairs, with its 95 % interval by bootstrap. Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from iqp_adapter.files import atomic_path
from iqp_adapter.training.record import environment

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "import_cost.json"
TORCH = "import torch"
OURS = {
    "import iqp_adapter": "import iqp_adapter",
    "import of every public name": "from iqp_adapter import *",
}


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return time.perf_counter() - start


def compare(code: str, pairs: int) -> dict[str, Any]:
    """Seconds of torch and of ours in turn, and the median ratio of the pairs."""
    times = np.array([[seconds(TORCH), seconds(code)] for _ in range(pairs + 1)])[1:]  # (pairs, 2)
    ratios = times[:, 1] / times[:, 0]
    draws = np.random.default_rng(0).choice(ratios, (10_000, pairs))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return {
        "ratio": round(float(np.median(ratios)), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "seconds": {"torch": times[:, 0].round(3).tolist(), "ours": times[:, 1].round(3).tolist()},
    }


def main(
    pairs: Annotated[int, typer.Option(min=15, help="Pairs of each comparison.")] = 15,
    out: Annotated[Path, typer.Option("-o", "--out", help="File of the result.")] = RESULT,
) -> None:
    """Measures, prints and writes the ratios."""
    report: dict[str, Any] = {name: compare(code, pairs) for name, code in OURS.items()}
    for name, result in report.items():
        typer.echo(f"{name}: {result['ratio']} x import torch, 95 % interval {result['interval']}")
    report["environment"] = environment(seed=0)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as path:
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
