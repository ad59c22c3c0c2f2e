"""What is said of a face beside its picture: the scorers and the embedder that fit a model and this machine."""

from __future__ import annotations

from ..core.metrics import is_computed
from ..restorer import Restorer
from ..scoring.scorer import Scorer
from .identity import DlibIdentity
from .options import Embedder


def scorers_of(model: Restorer, device: str, driving: bool, judge: bool) -> list[Scorer]:
    """The metric that conditions the model, where pictures can be scored by it, and one that it never saw."""
    scale = model.score_scale
    driven = [Scorer.of(scale, device)] if driving and scale is not None and is_computed(scale.metric) else []
    judges = [Scorer("piqe", device=device)] if judge and not any(one.metric == "piqe" for one in driven) else []
    return driven + judges


def embedder_of(wanted: bool, needed: bool) -> Embedder | None:
    """What tells identities: where it is needed its extra must be there, where it is wanted it may."""
    return DlibIdentity() if needed or (wanted and DlibIdentity.is_installed()) else None
