"""Finds checkpoints in the package, in folders and on the Hugging Face Hub, and uploads them to the Hub."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from .checkpoint import WEIGHTS
from .files import sha256_of
from .reasons import answer, failure, why
from .waiting import patiently

logger = logging.getLogger(__name__)

BUILTIN = Path(__file__).parents[1] / "weights"
DATASETS = "datasets/"


def resolve(name: str | Path, *, prefix: str = "", revision: str | None = None) -> Path:
    """The folder of a checkpoint, for `checkpoint.load`; fetches a checkpoint of the Hub first.

    Args:
        name: of a built-in checkpoint ("tiny"), a folder, or a Hub id ("owner/name"). A `Path` is always a folder.
        prefix: of the built-in folders of one kind ("iqpfr-").
        revision: branch, tag or commit on the Hub.

    Raises:
        ValueError: for a name that is none of the three.
        OSError: if the checkpoint is not in the Hub's cache and cannot be fetched.
    """
    if isinstance(name, str) and name in builtin(prefix):
        return BUILTIN / f"{prefix}{name}"
    if os.path.isdir(name):  # False for a name that no file system takes, where Path.is_dir raises
        return Path(name)
    if isinstance(name, Path) or not is_id(name):
        known = ", ".join(builtin(prefix)) or "nothing"
        raise ValueError(
            f"no checkpoint {str(name)[:200]!r}; built in: {known}; else give a folder or a Hub id 'owner/name'"
        )
    return fetch_checkpoint(name, revision)


def is_id(name: str) -> bool:
    """Whether it can be a repository of the Hub, "owner/name"."""
    return bool(re.fullmatch(r"(?!.*(\.\.|--|\.git$))\w([\w.-]{,94}\w)?/\w([\w.-]{,94}\w)?", name, re.ASCII))


def builtin(prefix: str = "") -> list[str]:
    """The names of the checkpoints in the package, without their common prefix."""
    return sorted(path.parent.name.removeprefix(prefix) for path in BUILTIN.glob(f"{prefix}*/{WEIGHTS}"))


def fetch_checkpoint(name: str, revision: str | None = None, force: bool = False) -> Path:
    """Fetches a checkpoint of the Hub and returns its folder in the cache of the Hub's client.

    Args:
        name: "owner/name".
        revision: branch, tag or commit.
        force: fetch it again, although it is in the cache.

    Raises:
        OSError: if it is not in the cache and cannot be fetched.
    """
    return _fetch("model", name, WEIGHTS, revision, force).parent


def fetch_file(name: str, force: bool = False) -> Path:
    """Fetches one file of the Hub and returns its path in the cache of the Hub's client.

    Args:
        name: "owner/name/path/in/it", with the prefix "datasets/" for a file of a data set.
        force: fetch it again, although it is in the cache.

    Raises:
        OSError: if the file is not in the cache and cannot be fetched.
    """
    return _fetch(*_parts(name), force=force)


def fetched_file(name: str) -> Path | None:
    """The path of a file that `fetch_file` has fetched before, else None. Needs no network."""
    return _cached(*_parts(name))


def push(
    folder: str | Path,
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Upload by iqp_adapter",
) -> str:
    """Uploads a folder to the Hub in one commit; creates the repository and the branch if they are missing.

    Args:
        repository: "owner/name".
        private: whether a new repository is private; None for the owner's default.
        token: by default the one of 'hf auth login'.
        revision: branch; by default the main one.

    Returns:
        The address of the commit.

    Raises:
        OSError: if the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    wanted: dict[str, Any] = {"repo_id": repository, "revision": revision, "folder_path": folder}
    try:
        api = HfApi(token=token)
        patiently(lambda: api.create_repo(repository, private=private, exist_ok=True))
        if revision is not None:
            patiently(lambda: api.create_branch(repository, branch=revision, exist_ok=True))
        done = patiently(lambda: api.upload_folder(**wanted, commit_message=message), answer=600 + size / 10_000)
    except Exception as error:  # the client lets through what its parts raise
        raise OSError(f"cannot push to {repository!r}: {_refusal(error)}") from error
    return done.commit_url


def _parts(name: str) -> tuple[str, str, str]:
    """Kind and id of the repository, and path of the file in it."""
    owner, repository, path = name.removeprefix(DATASETS).split("/", 2)
    return "dataset" if name.startswith(DATASETS) else "model", f"{owner}/{repository}", path


def _fetch(kind: str, repository: str, path: str, revision: str | None = None, force: bool = False) -> Path:
    """The path of a file in the cache, where the newest one is brought if the Hub can be asked.

    Raises:
        OSError: whatever keeps the client from it.
    """
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

    cached = None if force else _cached(kind, repository, path, revision)
    if cached and constants.HF_HUB_OFFLINE:
        return cached
    place: dict[str, Any] = {"repo_type": kind, "revision": revision}

    def bring() -> str:
        if cached is None:  # the download would try again for half a minute before it says why it fails
            get_hf_file_metadata(hf_hub_url(repository, path, **place))
        return hf_hub_download(repository, path, **place, force_download=force)

    try:
        found = Path(patiently(bring, lambda: _writing(kind, repository)))
        return found if found == cached else _verified(found)
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError) as error:
        raise OSError(_message(error, repository, path, revision)) from error
    except Exception as error:  # the client lets through what its parts raise, a proxy's ImportError among others
        if cached is None:
            raise OSError(_message(error, repository, path, revision)) from error
        logger.warning("%s is used as it is in the cache: %s", repository, failure(error, constants.ENDPOINT))
        return cached


def _message(error: Exception, repository: str, path: str, revision: str | None) -> str:
    from huggingface_hub import errors

    name = repository if path == WEIGHTS else f"{repository}/{path}"
    if path == WEIGHTS and isinstance(error, errors.RemoteEntryNotFoundError):
        return f"cannot fetch {name!r}: it has no {WEIGHTS}, so it is no checkpoint of iqp_adapter"
    wanted = f"file {path!r}" if isinstance(error, errors.RemoteEntryNotFoundError) else f"revision {revision!r}"
    return f"cannot fetch {name!r}: {why(error, wanted, repository)}"


def _cached(kind: str, repository: str, path: str, revision: str | None = None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository, path, repo_type=kind, revision=revision)
    except (OSError, ValueError):  # a cache that cannot be read has no copy
        return None
    return Path(found) if isinstance(found, str) else None


def _writing(kind: str, repository: str) -> list[tuple[int, int]]:
    """Size and time of the files that the client is writing."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{repository.replace('/', '--')}" / "blobs"
    try:
        return [(path.stat().st_size, path.stat().st_mtime_ns) for path in folder.glob("*.incomplete")]
    except FileNotFoundError:  # it was moved to its place in between
        return []


def _verified(path: Path) -> Path:
    """A file that has just come; the client names large ones by their sha256, which it does not compare.

    Raises:
        OSError: if it has another one, or is empty; the file is then removed.
    """
    blob = path.resolve()
    if not blob.stat().st_size:
        blob.unlink()
        raise OSError("an empty file came")
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256_of(blob) != blob.name:
        blob.unlink()
        raise OSError("what came does not have the sha256 that the Hub gives")
    return path


def _refusal(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, unset it"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status >= 500 or status == 429:
            return f"{constants.ENDPOINT} {answer(status)}"
        reason = " ".join((error.server_message or f"status {status}").split())
        return f"{constants.ENDPOINT} refuses ({reason}); 'hf auth login' with a token that may write, or pass token="
    return f"{failure(error, constants.ENDPOINT)}; try again with a network"
