"""Face restoration with a dial for quality: an image quality prior for restorers of faces.

The public names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .attention import GatedCrossAttention as GatedCrossAttention
    from .embedding import ScoreEmbedding as ScoreEmbedding
    from .host import HostSpec as HostSpec
    from .native import IQPFR as IQPFR
    from .quality import ScoreScale as ScoreScale
    from .scorer import Scorer as Scorer
    from .sites import Site as Site
    from .wrapped_host import WrappedHost as WrappedHost
    from .wrapper import wrap as wrap

_HOME = {
    "GatedCrossAttention": "attention",
    "HostSpec": "host",
    "IQPFR": "native",
    "ScoreEmbedding": "embedding",
    "ScoreScale": "quality",
    "Scorer": "scorer",
    "Site": "sites",
    "WrappedHost": "wrapped_host",
    "wrap": "wrapper",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOME)}")
    value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
