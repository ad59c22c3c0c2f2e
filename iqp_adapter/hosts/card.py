"""What people read about an adapter: a table of what it does to its host, and the model card beside it on the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from ..core.adapter import ATTENTION, Adapter
from ..core.quality import SET_SCALES
from ..scoring.card_parts import scorer_licence, scorers, training_sets
from ..store.publishing import UNKNOWN, facts_of, front_matter, sections, table
from .dial import Dial
from .spec import HostSpec

OURS = ("kind", "version", "host", "adapter", "retrained")
"""Entries of a config that are no facts."""


def describe(host: nn.Module, spec: HostSpec, dial: Dial) -> str:
    """A host and its adapters in some lines: sites, sizes, licences, dials, and the quality of calls that name none."""
    size = _count(host.parameters())
    learned = _count(dial.retrained.values())
    kind, state = "bare", "frozen"
    if learned:
        kind, state = "retrained", f"{learned:,} of them retrained, the others frozen"
    lines = [f"{spec.name}: {size:,} parameters, {state}; {spec.source}; licence: {spec.licence}"]
    lines += _own_dial(dial)
    for name, adapter in dial.adapters.items():
        own = _count(adapter.parameters())
        licence = adapter.facts.get("licence", UNKNOWN)
        lines += ["", f"adapter {name}: {own:,} parameters to train, {own / size:.2%} of the host; licence: {licence}"]
        lines += [f"scored by {scale.metric}; licence: {scorer_licence(scale.metric)}" for scale in adapter.scales]
        lines += _columns(_rows(adapter))
    bare = "none, which is any" if dial.own and dial.own.required else f"none, which is the {kind} host"
    return "\n".join([*lines, "", f"default quality: {bare if dial.quality is None else dial.quality}"])


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _own_dial(dial: Dial) -> list[str]:
    if dial.own is None:
        return []
    worst, best, highest = (float(dial.own.score(quality)) for quality in (0.0, "best", 1.0))
    numbers = f"{worst:.3g} (worst) to {highest:.3g}, best is {best:.3g}, any is {dial.own.any:.3g}"
    return [f"a dial of its own: {dial.own.argument}, a score of {dial.own.scale.metric}, {numbers}"]


def model_card(config: Mapping[str, Any], name: str) -> str:
    """The model card of a saved adapter, of what its config tells; what it does not tell is said to be missing.

    Args:
        config: of the checkpoint.
        name: of the adapter on the Hub ("owner/name").

    Raises:
        ValueError: for facts that the Hub would not understand.
    """
    host, adapter, facts = config["host"], config["adapter"], facts_of(config, OURS)
    sites = [(site["path"], site["layout"], site["dim"]) for site in adapter["sites"]]
    return f"""---
{front_matter(facts, name, ["iqp-adapter", host["name"]])}
---

# {name.split("/")[-1]}

An adapter of `iqp_adapter` for **{host["name"]}** ({host["source"]}): a dial for
the quality of restored faces. {_held(config)}

```python
import iqp_adapter as iqp

model = iqp.wrap(host, adapter="{name}")  # host: your {host["name"]} with the weights this was trained for
restored = model.restore(lq, quality="best")  # (B, 3, H, W) RGB in [0, 1]
```

| what | licence |
| --- | --- |
| this adapter | {facts.get("licence", UNKNOWN)} |
| its host | {host["licence"]} |
| the metric behind the dial | {scorers([scale["metric"] for scale in adapter["score_scales"]])} |

## Sites

{table(("site", "layout", "dim"), sites)}

At each of them: {adapter.get("block", ATTENTION)}.
{training_sets(adapter.get(SET_SCALES, {}))}
{sections(facts)}
## Host weights

Fingerprint of those it was trained for: `{host["values"][:16]}` (values), `{host["shapes"][:16]}` (keys and shapes).
"""


def _held(config: Mapping[str, Any]) -> str:
    """What it holds of its host, and whose licence that is under."""
    if "retrained" not in config:
        return "It holds no weight of its host, which stays as it is."
    parts = ", ".join(f"`{part}`" for part in config["retrained"])
    return (
        f"It holds parts of its host ({parts}),\nwhich were trained further together with the dial, from the host's "
        f"weights on, so that the host's licence\n({config['host']['licence']}) is theirs too. Decoder and codebook "
        f"stay the host's."
    )


def _rows(adapter: Adapter) -> list[tuple[str, ...]]:
    """A head, and a row for each site; what a block says of itself depends on its kind."""
    blocks = [(site, adapter.blocks[site.key].summary()) for site in adapter.sites]
    head = ("site", "layout", "dim", *blocks[0][1]) if blocks else ("site", "layout", "dim")
    return [head, *((site.path, site.layout, str(site.dim), *summary.values()) for site, summary in blocks)]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(["", *map(str.ljust, row, widths)]).rstrip() for row in rows]
