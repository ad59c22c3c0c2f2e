"""Finds checkpoints in the package, in folders and on the Hugging Face Hub, and uploads them to the Hub."""

from __future__ import annotations

import re
from pathlib import Path

from .checkpoint import CONFIG, WEIGHTS

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
    if Path(name).is_dir():
        return Path(name)
    if isinstance(name, Path) or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        known = ", ".join(builtin(prefix)) or "nothing"
        raise ValueError(f"no checkpoint {str(name)!r}; built in: {known}; else give a folder or a Hub id 'owner/name'")
    return _fetch(name, revision)


def builtin(prefix: str = "") -> list[str]:
    """The names of the checkpoints in the package, without their common prefix."""
    return sorted(path.parent.name.removeprefix(prefix) for path in BUILTIN.glob(f"{prefix}*/{WEIGHTS}"))


def fetch_file(name: str) -> Path:
    """Fetches one file of the Hub and returns its path in the cache of the Hub's client.

    Args:
        name: "owner/name/path/in/it", with the prefix "datasets/" for a file of a data set.

    Raises:
        OSError: if the file is not in the cache and cannot be fetched.
    """
    from huggingface_hub import errors, hf_hub_download

    kind, repository, path = _parts(name)
    try:
        return Path(hf_hub_download(repository, path, repo_type=kind))
    except (OSError, errors.HTTPError) as error:
        raise OSError(f"cannot fetch {name!r}: {_reason(error, f'file {path!r}')}") from error


def fetched_file(name: str) -> Path | None:
    """The path of a file that `fetch_file` has fetched before, else None. Needs no network."""
    from huggingface_hub import try_to_load_from_cache

    kind, repository, path = _parts(name)
    found = try_to_load_from_cache(repository, path, repo_type=kind)
    return Path(found) if isinstance(found, str) else None


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
    from huggingface_hub import HfApi, errors

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        return api.upload_folder(
            repo_id=repository, folder_path=folder, revision=revision, commit_message=message
        ).commit_url
    except (OSError, RuntimeError, errors.HTTPError) as error:
        raise OSError(f"cannot push to {repository!r}: {_refusal(error)}") from error


def _parts(name: str) -> tuple[str, str, str]:
    """Kind and id of the repository, and path of the file in it."""
    owner, repository, path = name.removeprefix(DATASETS).split("/", 2)
    return "dataset" if name.startswith(DATASETS) else "model", f"{owner}/{repository}", path


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, errors.HTTPError) as error:
        raise OSError(f"cannot fetch {name!r}: {_reason(error, f'revision {revision!r}')}") from error
    if not (folder / WEIGHTS).is_file():
        raise OSError(f"cannot fetch {name!r}: it has no {WEIGHTS}, so it is no checkpoint of iqp_adapter")
    return folder


def _reason(error: Exception, wanted: str) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no such repository, or a private one; check the id, or run 'hf auth login'"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no {wanted}; leave it out for the newest"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"it has no {wanted}; see {constants.ENDPOINT} for what it has"
    offline = "HF_HUB_OFFLINE is set, unset it" if constants.HF_HUB_OFFLINE else "try again with a network"
    return (
        f"{constants.ENDPOINT} was not reached ({type(error).__name__}) and the cache {constants.HF_HUB_CACHE} has no "
        f"copy; {offline}, set HF_ENDPOINT to a mirror, or give a folder"
    )


def _refusal(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, unset it"
    if isinstance(error, errors.HfHubHTTPError):
        reason = error.server_message or f"status {error.response.status_code}"
        return f"{constants.ENDPOINT} refuses ({reason}); 'hf auth login' with a token that may write, or pass token="
    return f"{constants.ENDPOINT} was not reached ({type(error).__name__}); try again with a network"
