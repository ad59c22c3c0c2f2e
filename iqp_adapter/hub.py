"""Where weights come from: the package itself, a folder, or the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from .checkpoint import CONFIG, WEIGHTS

BUILTIN = Path(__file__).parent / "weights"


def resolve(name: str | Path, *, prefix: str = "", revision: str | None = None) -> Path:
    """The folder of a checkpoint, for `checkpoint.load`; where it is on the Hub it is fetched first.

    Args:
        name: of a built-in checkpoint ("tiny"), a folder, or a Hub id ("owner/name"). A `Path` is always a folder.
        prefix: of the built-in folders of one kind ("iqpfr-").
        revision: branch, tag or commit on the Hub.

    Raises:
        ValueError: for a name that is none of the three.
        OSError: where the Hub or this checkpoint on it can not be reached and it was not fetched before.
    """
    if isinstance(name, str) and name in builtin(prefix):
        return BUILTIN / f"{prefix}{name}"
    if Path(name).is_dir():
        return Path(name)
    if isinstance(name, Path) or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        known = ", ".join(builtin(prefix)) or "nothing"
        raise ValueError(f"no checkpoint {str(name)!r}; built in: {known}; else give a folder or a Hub id 'owner/name'")
    return _fetch(name, revision)


def builtin(prefix: str = "") -> list[str]:
    """Names of the checkpoints that the package holds, without their common prefix."""
    return sorted(path.parent.name.removeprefix(prefix) for path in BUILTIN.glob(f"{prefix}*/{WEIGHTS}"))


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, errors.HTTPError) as error:
        raise OSError(f"can not fetch {name!r}: {_reason(error, revision)}") from error
    if not (folder / WEIGHTS).is_file():
        raise OSError(f"can not fetch {name!r}: it has no {WEIGHTS}, so it is no checkpoint of iqp_adapter")
    return folder


def _reason(error: Exception, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no such model, or it is private; check the id, or log in by 'hf auth login'"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}; leave it out for the newest"
    offline = "HF_HUB_OFFLINE is set, unset it" if constants.HF_HUB_OFFLINE else "try again with a network"
    return (
        f"{constants.ENDPOINT} was not reached ({type(error).__name__}) and the cache {constants.HF_HUB_CACHE} has no "
        f"copy; {offline}, set HF_ENDPOINT to a mirror, or give a folder"
    )
