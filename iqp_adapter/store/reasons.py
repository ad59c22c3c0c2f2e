"""Why a server gave nothing, in words: what it was, and what to try."""

from __future__ import annotations

import os
from http.client import responses
from pathlib import Path

from .words import message_of

_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


def why(error: BaseException, wanted: str, name: str, cache: Path) -> str:
    """What went wrong when a file of the Hub was asked for.

    Args:
        wanted: the revision or file that was asked for, as "revision 'v9'".
        name: of the repository.
        cache: folder of the Hub's cache.
    """
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return f"its owner asks for your consent; give it at {constants.ENDPOINT}/{name}, then run 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no such repository, or a private one; check the id, or run 'hf auth login'"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no {wanted}; leave it out for the newest"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"it has no {wanted}; see {constants.ENDPOINT} for what it has"
    outer = isinstance(error, (errors.LocalEntryNotFoundError, ValueError)) and not isinstance(error, errors.HTTPError)
    cause = error.__cause__ or error if outer else error
    if isinstance(cause, errors.HfHubHTTPError):
        return f"{constants.ENDPOINT} {answer(cause.response.status_code)}"
    if isinstance(cause, errors.FileMetadataError):
        return f"{constants.ENDPOINT} {NO_HUB}"
    return f"{failure(cause, constants.ENDPOINT)} and the cache {cache} has no copy; {_network()}"


NO_HUB = (
    "does not answer as the Hub does; is it the login page of a network, or a proxy? Open a page in a browser, or "
    "correct HF_ENDPOINT"
)


def answer(status: int) -> str:
    """What a server says by an error's status, and what to try."""
    hint = {
        401: "run 'hf auth login', or correct HF_TOKEN",
        403: "this token or network may not read it",
        404: "check the name",
        429: "it was asked too often; wait some minutes",
    }.get(status, "that is a fault of the server; try later" if status >= 500 else "try later")
    return f"answered {status} {responses.get(status, '')}".rstrip() + f"; {hint}"


def failure(error: BaseException, place: str) -> str:
    """What kept a client from an answer: the disk, the settings of this machine, or the network."""
    from huggingface_hub import errors

    line = message_of(error)[:300]
    if isinstance(error, TimeoutError):
        return f"{place} is too slow ({line}){proxies()}"
    if isinstance(error, (errors.HTTPError, ConnectionError, errors.LocalEntryNotFoundError)):
        return f"{place} was not reached ({type(error).__name__}){proxies()}"
    if isinstance(error, OSError):
        return f"there was a fault on the way from {place} ({line})"
    reason = f"{type(error).__name__}: {line}"
    return f"{place} cannot be asked: a setting of this machine, or its answer, is wrong ({reason}){proxies()}"


def _network() -> str:
    from huggingface_hub import constants

    offline = "HF_HUB_OFFLINE is set, unset it" if constants.HF_HUB_OFFLINE else "try again with a network"
    return f"{offline}, set HF_ENDPOINT to a mirror, or give a folder"


def proxies() -> str:
    """The variables that name a proxy, without their values, which may hold a password."""
    found = [name for name in _PROXIES for name in (name, name.lower()) if os.environ.get(name)]
    return f" [{', '.join(found)} names a proxy: correct or unset it]" if found else ""
