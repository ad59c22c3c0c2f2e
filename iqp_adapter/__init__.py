"""Face restoration with a dial for quality: an image quality prior for restorers of faces.

The public names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .core.attention import GatedCrossAttention as GatedCrossAttention
    from .core.embedding import ScoreEmbedding as ScoreEmbedding
    from .core.own_dial import OwnDial as OwnDial
    from .core.quality import ScoreScale as ScoreScale
    from .core.score_map import ScoreMap as ScoreMap
    from .core.sites import Site as Site
    from .hosts.spec import CodeAccess as CodeAccess
    from .hosts.spec import HostSpec as HostSpec
    from .hosts.wrap import wrap as wrap
    from .hosts.wrapped import WrappedHost as WrappedHost
    from .loader import load as load
    from .native import IQPFR as IQPFR
    from .native import IQPIR as IQPIR
    from .restorer import Restorer as Restorer
    from .scoring.scales import named_scale as named_scale
    from .scoring.scorer import Scorer as Scorer
    from .store.fetch import WeightFile as WeightFile

_HOME = {
    "CodeAccess": "hosts.spec",
    "GatedCrossAttention": "core.attention",
    "HostSpec": "hosts.spec",
    "IQPFR": "native",
    "IQPIR": "native",
    "OwnDial": "core.own_dial",
    "Restorer": "restorer",
    "ScoreEmbedding": "core.embedding",
    "ScoreMap": "core.score_map",
    "ScoreScale": "core.quality",
    "Scorer": "scoring.scorer",
    "Site": "core.sites",
    "WeightFile": "store.fetch",
    "WrappedHost": "hosts.wrapped",
    "load": "loader",
    "named_scale": "scoring.scales",
    "wrap": "hosts.wrap",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOME)}")
    value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
