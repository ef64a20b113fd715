"""Client of the Hub: ``huggingface_hub``, and its errors as sentences."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.libraries import failed_start, needed
from fer_edge.shown import shown


def endpoint() -> str | None:
    """Return the address in ``HF_ENDPOINT``; None is the Hub's own."""
    return os.environ.get("HF_ENDPOINT") or None


def api(hub: Any) -> Any:
    """Return the client of ``library()``."""
    return hub.HfApi(endpoint=endpoint(), library_name="fer-edge")


def library() -> Any:
    """Import ``huggingface_hub``.

    Raises:
        MissingDependencyError: It is not installed.
        InputError: It cannot read an environment variable.
    """
    with needed("huggingface_hub", "hub"):
        try:
            import huggingface_hub
            from huggingface_hub.utils.tqdm import disable_progress_bars
        except ValueError as error:
            wrong = failed_start(error)
            if wrong is None:
                raise
            raise wrong from error
    disable_progress_bars()
    return huggingface_hub


@contextmanager
def sentences(repo: str, revision: str | None = None) -> Iterator[None]:
    """Turn the errors of the Hub's client into sentences with the next step."""
    try:
        yield
    except FerEdgeError:
        raise
    except Exception as error:  # the client, its HTTP library and the network raise many types
        raise InputError(_sentence(repo, revision, error)) from error


def no_repository(repo: str) -> str:
    """Return the sentence about a name that is none of a repository."""
    return f"expected a repository like OWNER/NAME, got {shown(repo)}. Name it with its owner"


def _sentence(repo: str, revision: str | None, error: Exception) -> str:
    chain = list(_causes(error))
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    status = next((s for one in chain if (s := _status(one)) is not None), None)
    at = f" at {revision}" if revision else ""
    if "HFValidationError" in names:
        return no_repository(repo)
    if "OfflineModeIsEnabled" in names:
        return "HF_HUB_OFFLINE is set, so nothing is fetched. Unset it and try again"
    if "GatedRepoError" in names:
        return f"{repo} is gated. Accept its terms on the Hub, and log in with 'hf auth login'"
    if "RevisionNotFoundError" in names:
        return f"{repo} has no revision {shown(revision)}. Name a branch, a tag or a commit"
    if "RemoteEntryNotFoundError" in names or ("EntryNotFoundError" in names and status == 404):
        return f"a file of {repo}{at} is missing on the Hub. Push the model again"
    if status is not None:
        return _refused(repo, at, status)
    if any("onsistency check failed" in str(one) for one in chain):
        return f"a file of {repo}{at} was cut off on the way. Pull again: the part is kept"
    reason = next((str(one) for one in reversed(chain) if str(one)), type(error).__name__)
    if refused := next((one for one in chain if _is_local(one)), None):
        return (
            f"cannot use {refused.filename or 'the cache'}: {refused.strerror}. Free space, or set "
            "HF_HOME to another folder"
        )
    if setting := _wrong_setting(chain, reason):
        return setting
    if not {"OSError", "HTTPError", "TransportError"} & names:
        return (
            f"the Hub's answer for {repo}{at} cannot be read: {type(error).__name__}, "
            f"{shown(reason)}. Check HF_ENDPOINT, and update huggingface_hub"
        )
    return (
        f"cannot reach the Hub at {endpoint() or 'https://huggingface.co'} for {repo}: "
        f"{shown(reason)}. Check the network and HF_ENDPOINT, and try again"
    )


def _wrong_setting(chain: list[BaseException], reason: str) -> str | None:
    """Return the sentence about an environment variable that no request can be made with."""
    if any(isinstance(one, UnicodeEncodeError) for one in chain):
        return (
            "the token has characters that no token has. Set HF_TOKEN again, or log in with "
            "'hf auth login'"
        )
    if "proxy URL" in reason:
        return f"cannot use the proxy: {shown(reason)}. Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
    if any(type(one) is FileNotFoundError for one in chain):  # the client's own has a subclass
        return (
            f"cannot read the certificates: {shown(reason)}. Check SSL_CERT_FILE and SSL_CERT_DIR"
        )
    return None


def _is_local(error: BaseException) -> TypeGuard[OSError]:
    """Return True for a failing local file or disk, False for the network."""
    return isinstance(error, OSError) and (
        error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        or (error.filename is not None and error.errno is not None)
    )


def _refused(repo: str, at: str, status: int) -> str:
    """Return the sentence about a status of the Hub."""
    log_in = "Log in with 'hf auth login', or set HF_TOKEN to a token that may"
    changed = f"{repo} was changed at the same time: nothing was pushed. Push again"
    known = {
        401: f"the Hub does not show {repo} to you: no such repository, or private. {log_in} "
        "read it",
        403: f"the Hub does not let you change {repo}. {log_in} write to it",
        404: f"the Hub has no repository {repo}. Check its name, OWNER/NAME. {log_in} read it",
        409: changed,
        412: changed,
        416: f"the Hub cannot continue a download of {repo}: a part of it is in the cache and is "
        "longer than the file. Clear the cache (hf cache) and pull again",
        429: "the Hub refuses so many requests. Wait some minutes and try again",
    }
    return known.get(status, f"the Hub answered {status} for {repo}{at}. Try again later")


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
