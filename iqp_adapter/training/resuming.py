"""A run goes on with the settings and data that it was begun with; others are refused before anything is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.metrics import as_saved
from ..store.files import atomic_path
from ..store.reading import json_file
from .dataset import FaceFolder, FacePairs

SETTINGS = "settings.json"
FREE = ("precision", "workers", "save_every", "watch_every", "judges")
"""Settings that may change while a run goes on; `steps` may grow."""

METRIC = "metric"

_NOTHING = object()


def check_same(folder: Path, settings: Mapping[str, Any], begun: bool) -> bool:
    """Compares settings with those in the folder, if something was trained with these.

    Returns:
        whether the settings are new: there were none, or nothing was trained with other ones.

    Raises:
        ValueError: names the first setting that has changed, the old value and the new one.
    """
    file = folder / SETTINGS
    if not file.exists():
        return True
    before, now = _of_now(json_file(file)), _as_json(settings)
    changed = next((name for name in before if name in now and not _may_follow(name, before[name], now[name])), None)
    if changed and begun:
        place, old, new = _difference(changed, before[changed], now[changed])
        back = f"`metric: {before[METRIC]}` goes on with it" if changed == METRIC else "set it back"
        raise ValueError(
            f"{folder} was trained with {place} {old}, and now it is {new}; {back}, or train in another folder "
            f"(steps may grow, and {', '.join(FREE)} may change)"
        )
    return changed is not None


def keep(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings of a run or a stage, which `check_same` compares."""
    with atomic_path(folder / SETTINGS) as path:
        path.write_text(json.dumps(_as_json(settings), indent=2) + "\n", encoding="utf-8")


def identity(data: FaceFolder) -> dict[str, Any]:
    """What tells training data from others: the number of pictures, their contents, and their names in order."""
    paths = [*data.paths, *(data.partners if isinstance(data, FacePairs) else ())]
    names = "\n".join(path.name for path in paths).encode(errors="surrogatepass")
    found = {"pictures": len(data), "sha256": data.source.sha256(), "names": hashlib.sha256(names).hexdigest()}
    return found | ({"inputs": data.inputs.sha256()} if isinstance(data, FacePairs) else {})


def _of_now(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run of any release: earlier ones named a metric without its version."""
    return settings | ({METRIC: as_saved(str(settings[METRIC]))} if METRIC in settings else {})


def identity_of_sets(sets: Mapping[str, FaceFolder]) -> dict[str, Any]:
    """That of the one set, which may be renamed; where there are several, that of each by its name."""
    found = {name: identity(folder) for name, folder in sets.items()}
    return {"sets": found} if len(found) > 1 else next(iter(found.values()))


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))


def _may_follow(name: str, old: Any, new: Any) -> bool:
    return name in FREE or old == new or (name == "steps" and new >= old)


def _difference(name: str, old: Any, new: Any) -> tuple[str, str, str]:
    """Name and both values of the innermost entry that differs."""
    while isinstance(old, dict) and isinstance(new, dict):
        key = next(key for key in [*old, *new] if old.get(key, _NOTHING) != new.get(key, _NOTHING))
        name, old, new = f"{name}.{key}", old.get(key, _NOTHING), new.get(key, _NOTHING)
    return name, _text(old), _text(new)


def _text(value: Any) -> str:
    return "not given" if value is _NOTHING else f"{json.dumps(value):.80}"
