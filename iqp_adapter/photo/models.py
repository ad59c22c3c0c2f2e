"""What the pipeline has to know of a model, be it native, wrapped or anything else that restores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from torch import Tensor, nn, uint8

from ..core.quality import ScoreScale
from ..hosts.wrapped import WrappedHost
from ..store import checkpoint, hub
from .options import Restorer


def name_of(model: Restorer) -> str:
    return model.spec.name if isinstance(model, WrappedHost) else type(model).__name__


def resolution_of(model: Restorer) -> int:
    """Side of the faces that are cut out for it, in pixels.

    Raises:
        ValueError: for a host that takes pictures of any size.
    """
    if model.resolution is None:
        raise ValueError(
            f"{name_of(model)} does not say how large a face it restores, so none can be cut out of a photo; give it "
            f"aligned faces by model.restore(lq), or a host whose adapter file says its resolution"
        )
    return model.resolution


def score_scale(model: Restorer) -> ScoreScale | None:
    """The scale by which a face is called good.

    That of the metric which conditions the model; where a host's adapter has none, that of iqp-lite on the training
    pictures of `tiny`. None for other models without one.
    """
    if not isinstance(model, WrappedHost):
        return getattr(model, "score_scale", None)
    scales = [scale for adapter in model.adapters.values() for scale in adapter.scales]
    return scales[0] if scales else _lite_scale()


@lru_cache(maxsize=1)
def _lite_scale() -> ScoreScale:
    config, _ = checkpoint.load(hub.resolve("tiny", prefix="iqpfr-"))
    return ScoreScale.from_dict(config["score_scale"])


def check_fidelity(model: Restorer, fidelity: float | None) -> None:
    """Refuses a fidelity weight where the host has none, before any photo is opened.

    Raises:
        ValueError: says so.
    """
    if fidelity is not None and isinstance(model, WrappedHost):
        model.check_restore({"fidelity": fidelity})


def restoring(model: Restorer, optimise: int) -> Callable[..., Tensor]:
    """What restores a batch of faces: the model's `restore`, or its `optimise` with that many updates.

    Raises:
        ValueError: for a model that decides no codes.
    """
    if not optimise:
        return model.restore
    if not hasattr(model, "optimise") or (isinstance(model, WrappedHost) and model.codes is None):
        raise ValueError(f"{name_of(model)} decides no codes, so that none can be optimised; leave optimise out")
    return partial(model.optimise, steps=optimise)


def fingerprint(model: Restorer) -> str:
    """Tells models by their weights, an adapter's and its host's."""
    digest = hashlib.sha256()
    for module in (model, model.bare) if isinstance(model, WrappedHost) else (model,):
        state: dict[str, Any] = module.state_dict() if isinstance(module, nn.Module) else {}
        for key, tensor in state.items():
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
