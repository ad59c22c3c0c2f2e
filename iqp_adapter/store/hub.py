"""Finds checkpoints in the package, in folders and on the Hugging Face Hub, and uploads them to the Hub."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from typing_extensions import Unpack

from .checkpoint import WEIGHTS
from .files import sha256_of
from .reasons import answer, failure, why
from .waiting import patiently

logger = logging.getLogger(__name__)

BUILTIN = Path(__file__).parents[1] / "weights"
DATASETS = "datasets/"
COMMIT_MESSAGE = "Upload by iqp_adapter"


class HubOptions(TypedDict, total=False):
    """How something is found on the Hugging Face Hub, by the names of its client and with the same defaults.

    They are keyword arguments of all that can reach the Hub. What is not on the Hub needs none of them, and what its
    authors have published elsewhere is fetched by them as well, but for `token`.

    Attributes:
        revision: branch, tag or commit; by default the newest of the main branch. Refused for what is not on the Hub.
        token: by which private models are read; by default the one of 'hf auth login'. False sends none.
        cache_dir: folder of the cache, by default that of the Hub's client.
        local_files_only: takes what is in the cache, and asks no server.
        force_download: fetches it again, although it is in the cache.
    """

    revision: str | None
    token: str | bool | None
    cache_dir: str | Path | None
    local_files_only: bool
    force_download: bool


def resolve(name: str | Path, *, prefix: str = "", **options: Unpack[HubOptions]) -> Path:
    """The folder of a checkpoint, for `checkpoint.load`; fetches a checkpoint of the Hub first.

    Args:
        name: of a built-in checkpoint ("tiny"), a folder, or a Hub id ("owner/name"). A `Path` is always a folder.
        prefix: of the built-in folders of one kind ("iqpfr-").

    Raises:
        ValueError: for a name that is none of the three, and a revision of what is not on the Hub.
        OSError: if the checkpoint is not in the Hub's cache and cannot be fetched.
    """
    if is_on_hub(name, prefix):
        return fetch_checkpoint(str(name), **options)
    if isinstance(name, str) and name in builtin(prefix):
        found = BUILTIN / f"{prefix}{name}"
    elif os.path.isdir(name):  # False for a name that no file system takes, where Path.is_dir raises
        found = Path(name)
    else:
        known = ", ".join(builtin(prefix)) or "nothing"
        raise ValueError(
            f"no checkpoint {str(name)[:200]!r}; built in: {known}; else give a folder or a Hub id 'owner/name'"
        )
    refuse_revision(name, options)
    return found


def is_on_hub(name: Any, prefix: str = "") -> bool:
    """Whether a checkpoint of that name is neither built in nor a folder, so that it comes from the Hub."""
    return isinstance(name, str) and name not in builtin(prefix) and not os.path.isdir(name) and is_id(name)


def refuse_revision(name: Any, options: Mapping[str, Any]) -> None:
    """ValueError for a revision of something that is not on the Hub."""
    if (revision := options.get("revision")) is not None:
        raise ValueError(f"revision is {revision!r}, but {name} is not on the Hub and has none; leave it out")


def of_each(adapter: Any, options: HubOptions) -> tuple[HubOptions, HubOptions]:
    """Options for a host and for its adapter; the revision is that of the adapter, if it is on the Hub."""
    others = options.copy()
    others.pop("revision", None)
    return (others, options) if is_on_hub(adapter) else (options, others)


def is_id(name: str) -> bool:
    """Whether it can be a repository of the Hub, "owner/name"."""
    return bool(re.fullmatch(r"(?!.*(\.\.|--|\.git$))\w([\w.-]{,94}\w)?/\w([\w.-]{,94}\w)?", name, re.ASCII))


def builtin(prefix: str = "") -> list[str]:
    """The names of the checkpoints in the package, without their common prefix."""
    return sorted(path.parent.name.removeprefix(prefix) for path in BUILTIN.glob(f"{prefix}*/{WEIGHTS}"))


def fetch_checkpoint(name: str, **options: Unpack[HubOptions]) -> Path:
    """Fetches a checkpoint of the Hub, "owner/name", and returns its folder in the cache.

    Raises:
        OSError: if it is not in the cache and cannot be fetched.
    """
    return _fetch("model", name, WEIGHTS, options).parent


def fetch_file(name: str, **options: Unpack[HubOptions]) -> Path:
    """Fetches one file of the Hub and returns its path in the cache.

    Args:
        name: "owner/name/path/in/it", with the prefix "datasets/" for a file of a data set.

    Raises:
        OSError: if the file is not in the cache and cannot be fetched.
    """
    return _fetch(*_parts(name), options)


def fetched_file(name: str, cache_dir: str | Path | None = None) -> Path | None:
    """The path of a file that `fetch_file` has fetched before, else None. Needs no network."""
    return _cached(*_parts(name), {"cache_dir": cache_dir})


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = COMMIT_MESSAGE,
) -> str:
    """Uploads a folder to the Hub in one commit; creates the repository and the branch if they are missing.

    Args:
        repo_id: "owner/name".
        private: whether a new repository is private; None for the owner's default.
        token: by default the one of 'hf auth login'.
        revision: branch; by default the main one.
        commit_message: title of the commit.

    Returns:
        The address of the commit.

    Raises:
        OSError: if the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    wanted: dict[str, Any] = {"repo_id": repo_id, "revision": revision, "folder_path": folder}
    try:
        api = HfApi(token=token)
        patiently(lambda: api.create_repo(repo_id, private=private, exist_ok=True))
        if revision is not None:
            patiently(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True))
        done = patiently(lambda: api.upload_folder(**wanted, commit_message=commit_message), answer=600 + size / 10_000)
    except Exception as error:  # the client lets through what its parts raise
        raise OSError(f"cannot push to {repo_id!r}: {_refusal(error)}") from error
    return done.commit_url


def _parts(name: str) -> tuple[str, str, str]:
    """Kind and id of the repository, and path of the file in it."""
    owner, repository, path = name.removeprefix(DATASETS).split("/", 2)
    return "dataset" if name.startswith(DATASETS) else "model", f"{owner}/{repository}", path


def _fetch(kind: str, repository: str, path: str, options: HubOptions) -> Path:
    """The path of a file in the cache, where the newest one is brought if the Hub can be asked.

    Raises:
        ValueError: for options that contradict each other.
        OSError: whatever keeps the client from it.
    """
    from huggingface_hub import constants, errors

    check_options(options)
    local = options.get("local_files_only", False)
    cached = None if options.get("force_download") else _cached(kind, repository, path, options)
    if cached and (local or constants.HF_HUB_OFFLINE):
        return cached
    if local:
        place = f"the cache {_cache(options)} has no copy"
        raise OSError(
            f"cannot fetch {_name(repository, path)!r}: {place}; leave out local_files_only, or give a folder"
        )
    try:
        bring = partial(_bring, kind, repository, path, options, known=cached is not None)
        found = Path(patiently(bring, partial(_writing, kind, repository, options)))
        return found if found == cached else _verified(found)
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError) as error:
        raise OSError(_message(error, repository, path, options)) from error
    except Exception as error:  # the client lets through what its parts raise, a proxy's ImportError among others
        if cached is None:
            raise OSError(_message(error, repository, path, options)) from error
        logger.warning("%s is used as it is in the cache: %s", repository, failure(error, constants.ENDPOINT))
        return cached


def _bring(kind: str, repository: str, path: str, options: HubOptions, known: bool) -> str:
    """Has the client bring a file; `known` is whether the cache has one, which may be the newest."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    if not known:  # the download would try again for half a minute before it says why it fails
        address = hf_hub_url(repository, path, repo_type=kind, revision=options.get("revision"))
        get_hf_file_metadata(address, token=options.get("token"))
    return hf_hub_download(repository, path, repo_type=kind, **options)


def check_options(options: HubOptions) -> None:
    """ValueError for options that contradict each other."""
    if options.get("local_files_only") and options.get("force_download"):
        raise ValueError("force_download asks a server, and local_files_only asks none; leave out one of them")


def _name(repository: str, path: str) -> str:
    return repository if path == WEIGHTS else f"{repository}/{path}"


def _message(error: Exception, repository: str, path: str, options: HubOptions) -> str:
    from huggingface_hub import errors

    name = _name(repository, path)
    if path == WEIGHTS and isinstance(error, errors.RemoteEntryNotFoundError):
        return f"cannot fetch {name!r}: it has no {WEIGHTS}, so it is no checkpoint of iqp_adapter"
    file = isinstance(error, errors.RemoteEntryNotFoundError)
    wanted = f"file {path!r}" if file else f"revision {options.get('revision')!r}"
    return f"cannot fetch {name!r}: {why(error, wanted, repository, _cache(options))}"


def _cache(options: HubOptions) -> Path:
    from huggingface_hub import constants

    return Path(options.get("cache_dir") or constants.HF_HUB_CACHE)


def _cached(kind: str, repository: str, path: str, options: HubOptions) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    place: dict[str, Any] = {"repo_type": kind, "revision": options.get("revision"), "cache_dir": _cache(options)}
    try:
        found = try_to_load_from_cache(repository, path, **place)
    except (OSError, ValueError):  # a cache that cannot be read has no copy
        return None
    return Path(found) if isinstance(found, str) else None


def _writing(kind: str, repository: str, options: HubOptions) -> list[tuple[int, int]]:
    """Size and time of the files that the client is writing."""
    folder = _cache(options) / f"{kind}s--{repository.replace('/', '--')}" / "blobs"
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
