"""What people read about an adapter: a table of what it does to its host, and the model card beside it on the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.adapter import ATTENTION, Adapter
from ..core.metrics import NEWEST, families
from ..core.quality import BEST, SET_SCALES, ScoreScale
from ..store import checkpoint
from ..store.files import atomic_path
from .dial import Dial
from .spec import HostSpec

OURS = "Apache-2.0, trained on CC BY 4.0 photos"
PYIQA = "pyiqa, PolyForm Noncommercial 1.0.0"
"""Licences of this project's metrics, and of every other one."""

UNKNOWN = "not stated"
_ELSEWHERE = ("kind", "version", "host", "adapter", "base_model")
"""Entries of a config that are no facts, or that only the front matter shows."""


def describe(host: nn.Module, spec: HostSpec, dial: Dial) -> str:
    """A host and its adapters in some lines: sites, sizes, licences, dials, and the quality of calls that name none."""
    size = sum(parameter.numel() for parameter in host.parameters())
    lines = [f"{spec.name}: {size:,} parameters, frozen; {spec.source}; licence: {spec.licence}"]
    lines += _own_dial(dial)
    for name, adapter in dial.adapters.items():
        own = sum(parameter.numel() for parameter in adapter.parameters())
        licence = adapter.facts.get("licence", UNKNOWN)
        lines += ["", f"adapter {name}: {own:,} parameters to train, {own / size:.2%} of the host; licence: {licence}"]
        lines += [f"scored by {scale.metric}; licence: {scorer_licence(scale.metric)}" for scale in adapter.scales]
        lines += _columns(_rows(adapter))
    bare = "none, which is any" if dial.own and dial.own.required else "none, which is the bare host"
    return "\n".join([*lines, "", f"default quality: {bare if dial.quality is None else dial.quality}"])


def _own_dial(dial: Dial) -> list[str]:
    if dial.own is None:
        return []
    worst, best, highest = (float(dial.own.score(quality)) for quality in (0.0, "best", 1.0))
    numbers = f"{worst:.3g} (worst) to {highest:.3g}, best is {best:.3g}, any is {dial.own.any:.3g}"
    return [f"a dial of its own: {dial.own.argument}, a score of {dial.own.scale.metric}, {numbers}"]


def scorer_licence(metric: str) -> str:
    """Of a metric, or of every member of an ensemble."""
    return "; ".join(dict.fromkeys(OURS if name in NEWEST else PYIQA for name in families(metric)))


def write_card(folder: str | Path, name: str) -> None:
    """Writes README.md beside a saved adapter.

    Args:
        name: of the adapter on the Hub ("owner/name").
    """
    config, _ = checkpoint.load(folder)
    with atomic_path(Path(folder) / "README.md") as path:
        path.write_text(model_card(config, name), encoding="utf-8")


def model_card(config: Mapping[str, Any], name: str) -> str:
    """The model card of a saved adapter, of what its config tells; what it does not tell is said to be missing.

    Args:
        config: of the checkpoint. Beside what every adapter has, its facts `licence` (by its id on the Hub),
            `base_model` (Hub id of the host), `data`, `metrics` and `limits` have places of their own.
        name: of the adapter on the Hub ("owner/name").
    """
    host, adapter = config["host"], config["adapter"]
    facts = {key: value for key, value in config.items() if key not in _ELSEWHERE}
    metrics = [scale["metric"] for scale in adapter["score_scales"]]
    scorers = "; ".join(f"{metric} ({scorer_licence(metric)})" for metric in metrics) or UNKNOWN
    sites = [(site["path"], site["layout"], site["dim"]) for site in adapter["sites"]]
    known = {key: _text(facts.pop(key, UNKNOWN)) for key in ("licence", "data", "metrics", "limits")}
    return f"""---
{_front_matter(config)}
---

# {name.split("/")[-1]}

An adapter of `iqp_adapter` for **{host["name"]}** ({host["source"]}): a dial for
the quality of restored faces. It holds no weight of its host, which stays as it is.

```python
import iqp_adapter as iqp

model = iqp.wrap(host, adapter="{name}")  # host: your {host["name"]} with the weights this was trained for
restored = model.restore(lq, quality="best")  # (B, 3, H, W) RGB in [0, 1]
```

| what | licence |
| --- | --- |
| this adapter | {known["licence"]} |
| its host | {host["licence"]} |
| the metric behind the dial | {scorers} |

## Sites

{_table(("site", "layout", "dim"), sites)}

At each of them: {adapter.get("block", ATTENTION)}.
{_sets(adapter.get(SET_SCALES, {}))}
## Data

{known["data"]}

## Metrics

{known["metrics"]}

## Limits

{known["limits"]}

The dial asks for a better score of a metric, which is no proof of likeness: details of a restored face are invented,
and it is no evidence of who is shown.

## Host weights

Fingerprint of those it was trained for: `{host["values"][:16]}` (values), `{host["shapes"][:16]}` (keys and shapes).
{_further(facts)}"""


def _sets(scales: Mapping[str, Any]) -> str:
    """What quality means in each training set; nothing where there was one set alone."""
    if not scales:
        return ""
    asked = (0.0, 0.5, BEST)
    rows = [
        (name, *map("{:.4g}".format, _scores(ScoreScale.from_dict(scale), asked))) for name, scale in scales.items()
    ]
    return f"""
## Training sets

Trained on several sets of pictures. Quality is that within a picture's own set, so that the score of a quality differs
by set:

{_table(("set", *(f"score at quality {quality:g}" for quality in asked)), rows)}
"""


def _scores(scale: ScoreScale, qualities: Sequence[float]) -> list[float]:
    return scale.score(torch.tensor(qualities)).tolist()


def _front_matter(config: Mapping[str, Any]) -> str:
    """YAML by which the Hub sorts models; JSON values are YAML too."""
    unknown = {"license": "other", "license_name": "not-stated"}
    entries = {
        **({"license": config["licence"]} if "licence" in config else unknown),
        "library_name": "iqp_adapter",
        "pipeline_tag": "image-to-image",
        "tags": ["face-restoration", "iqp-adapter", config["host"]["name"]],
    }
    if "base_model" in config:
        entries["base_model"] = config["base_model"]
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in entries.items())


def _further(facts: Mapping[str, Any]) -> str:
    return f"\n## Further facts\n\n{_text(facts)}\n" if facts else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"```json\n{json.dumps(value, indent=2)}\n```"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _rows(adapter: Adapter) -> list[tuple[str, ...]]:
    """A head, and a row for each site; what a block says of itself depends on its kind."""
    blocks = [(site, adapter.blocks[site.key].summary()) for site in adapter.sites]
    head = ("site", "layout", "dim", *blocks[0][1]) if blocks else ("site", "layout", "dim")
    return [head, *((site.path, site.layout, str(site.dim), *summary.values()) for site, summary in blocks)]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(["", *map(str.ljust, row, widths)]).rstrip() for row in rows]
