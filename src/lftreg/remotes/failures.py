"""What goes wrong with a hub, as errors of ours: what happened, what to do, and nothing that looks like a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftreg.errors import (
    InvalidReference,
    LftregError,
    NotFound,
    StorageError,
    TokenNeeded,
    Unavailable,
)
from lftreg.scrub import scrub

if TYPE_CHECKING:
    from lftreg.remotes.asking import Asking

_SIGN_IN = "`hf auth login`, or set HF_TOKEN"


class Lost(Exception):
    """A request without a usable answer. `status` is what a busy server said, `at` the path that was asked.

    `tried` says that it was repeated as often as it may be: whoever made it does not start again.
    """

    tried = False

    def __init__(self, why: str, at: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(why)
        self.why, self.at, self.status, self.wait = why, at, status, wait

    @property
    def unknown(self) -> bool:
        """Whether what was asked for may have been done all the same."""
        return self.status != 429


def lost_of(error: BaseException | None) -> Lost | None:
    """The `Lost` that an exception of the client was made of, if it was."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, Lost):
            return error
        error, seen = error.__cause__, seen + 1
    return None


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error of the client."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def nonsense(hub: Asking, what: str) -> LftregError:
    """The error for an answer that no hub gives."""
    return LftregError(
        f"{hub.host} does not answer as a hub does: {what}",
        "is HF_ENDPOINT right? try again if the network is shaky",
        code="remote-answer",
    )


def told_as_ours(error: Exception, hub: Asking) -> LftregError:
    """Any exception of the client as one of ours, with nothing in it that looks like a token."""
    from huggingface_hub import errors as theirs

    if (inner := _ours_within(error)) is not None:
        return inner
    if (lost := lost_of(error)) is not None:
        busy = lost.status == 429
        return Unavailable(
            f"{hub.host} cannot be reached: {scrub(lost.why)[:200]}",
            "it asks for patience; try again later" if busy else "check the network, then try again",
            code="rate-limited" if busy else "remote-unreachable",
        )
    if isinstance(error, theirs.HFValidationError):
        return InvalidReference("that is no name of a repository", "write ORG/NAME")
    if isinstance(error, theirs.GatedRepoError):
        return TokenNeeded(
            f"{hub.host} keeps this behind a gate", f"accept its terms there, then {_SIGN_IN}", code="gated"
        )
    if isinstance(error, theirs.RevisionNotFoundError):
        return NotFound(
            f"{hub.host} has no such revision of it", "a branch, a tag or a commit", code="unknown-revision"
        )
    if isinstance(error, theirs.RepositoryNotFoundError):
        return NotFound(
            f"{hub.host} has no such repository, or keeps it private",
            f"check its name; a private one needs {_SIGN_IN}",
            code="unknown-repo",
        )
    if isinstance(error, theirs.HfHubHTTPError):
        return _refused(error, hub)
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return StorageError(f"{where}{error.strerror}", "free some space, or check the permissions")
    return nonsense(hub, scrub(f"{type(error).__name__}: {error}").splitlines()[0][:200])


def _refused(error: Any, hub: Asking) -> LftregError:
    status = status_of(error)
    said = scrub(str(getattr(error, "server_message", None) or "")).splitlines()
    why = f": {said[0][:200]}" if said else ""
    if status == 401 and _sent_a_token(error):
        return TokenNeeded(
            f"{hub.host} does not take this token{why}",
            f"is it revoked, or another server's? A new one: {_SIGN_IN}; {hub.endpoint}/settings/tokens lists them",
            code="token-refused",
        )
    if status == 401:
        return TokenNeeded(f"{hub.host} asks for a token{why}", _SIGN_IN)
    if status == 403:
        return TokenNeeded(
            f"{hub.host} does not allow that with this token{why}",
            f"it needs the right to write there, see {hub.endpoint}/settings/tokens; "
            "to a repository of somebody else's, --create-pr proposes it",
            code="forbidden",
        )
    if status == 404:
        return NotFound(f"{hub.host} has no such thing{why}", "check the name", code="unknown-repo")
    return LftregError(
        f"{hub.host} refused: HTTP {status}{why}", "nothing was changed", code="remote-refused"
    )


def _sent_a_token(error: Any) -> bool:
    request = getattr(getattr(error, "response", None), "request", None)
    return request is not None and "authorization" in request.headers


def _ours_within(error: BaseException | None) -> LftregError | None:
    """An error of ours that the client has wrapped into one of its own."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, LftregError):
            return error
        error, seen = error.__cause__, seen + 1
    return None
