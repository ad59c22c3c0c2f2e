"""The model card of a model of this library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.quality import SET_SCALES
from ..scoring.card_parts import scorers, training_sets
from ..store.publishing import UNKNOWN, facts_of, front_matter, sections

if TYPE_CHECKING:
    from .pretrained import Pretrained


def model_card(model: Pretrained, config: Mapping[str, Any], name: str) -> str:
    """The card, of what the config of a saved model tells; what it does not tell is said to be missing.

    Args:
        name: of the model on the Hub ("owner/name").

    Raises:
        ValueError: for facts that the Hub would not understand.
    """
    kind, facts = type(model).__name__, facts_of(config, model.to_config())
    sizes = {entry: value for entry, value in model.to_config().items() if entry not in ("score_scale", SET_SCALES)}
    return f"""---
{front_matter(facts, name, ["iqp-adapter", kind.lower()])}
---

# {name.split("/")[-1]}

An {kind} of `iqp_adapter`, which restores aligned faces of {model.resolution} pixels a side, with a dial for their
quality.

```python
import iqp_adapter as iqp

model = iqp.load("{name}")
restored = model.restore(lq, quality="best")  # (B, 3, H, W) RGB in [0, 1]
```

| what | licence |
| --- | --- |
| this model | {facts.get("licence", UNKNOWN)} |
| the metric behind the dial | {scorers(model.conditioned_on)} |

## Sizes

```json
{json.dumps(sizes, indent=2)}
```
{training_sets(config.get(SET_SCALES, {}))}
{sections(facts)}"""
