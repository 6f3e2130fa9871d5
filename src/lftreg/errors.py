"""Every error that lftreg raises on purpose, and the exit code of each.

    LftregError                1  something failed
    ├── UsageError             2  what was typed or given cannot be used
    │   ├── InvalidName        2  a name outside [a-z0-9][a-z0-9._-]{0,63}
    │   ├── InvalidReference   2  a REF or REF:WEIGHT that does not parse
    │   ├── InvalidData        2  a row, a file or an adapter that must be refused
    │   └── Incompatible       2  adapters or a base that do not belong together
    ├── NotFound               3  no such adapter, domain, method, base, file
    ├── TokenNeeded            4  a remote asks for a token
    ├── Unavailable            5  hardware, an extra or a model that is not here
    ├── CheckFailed            6  verify found damage
    ├── Interrupted          130  stopped on request, with everything saved
    └── StorageError           1  the disk, the database or their permissions
        └── NewerDatabase      1  written by a later lftreg

An error carries one sentence, a hint that says what to do, and a code that scripts may
match on. Nothing else is meant to reach a user: `cli.main` catches here, and only here.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

INTERNAL_BUG = 70
INTERRUPTED = 130


class LftregError(Exception):
    """A failure with a sentence for the user, a hint and an exit code.

    `code` is the stable name printed by `--json`; a subclass or an instance may set it.
    """

    exit_code = 1
    code = "failed"
    told = False  # whether the user has been told already, by another process

    def __init__(self, message: str, hint: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(LftregError):
    exit_code = 2
    code = "usage"


class InvalidName(UsageError):
    code = "invalid-name"


class InvalidReference(UsageError):
    code = "invalid-reference"


class InvalidData(UsageError):
    code = "invalid-data"


class Incompatible(UsageError):
    code = "incompatible"


class NotFound(LftregError):
    exit_code = 3
    code = "not-found"


class TokenNeeded(LftregError):
    exit_code = 4
    code = "token-needed"


class Unavailable(LftregError):
    exit_code = 5
    code = "unavailable"


class CheckFailed(LftregError):
    exit_code = 6
    code = "check-failed"


class Interrupted(LftregError):
    exit_code = INTERRUPTED
    code = "interrupted"


class StorageError(LftregError):
    code = "storage"


class NewerDatabase(StorageError):
    code = "newer-database"


STORAGE_CODES = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
    errno.EFBIG: "disk-full",
    errno.EROFS: "read-only",
    errno.EACCES: "read-only",
    errno.EPERM: "read-only",
}


def cannot_write(what: str, error: OSError, hint: str | None = None) -> StorageError:
    """The error for a file or folder that the system lets nobody write. `hint` is for a disk that is not full."""
    code = STORAGE_CODES.get(error.errno or 0, StorageError.code)
    if code == "disk-full" or hint is None:
        hint = (
            "free some space; nothing was changed"
            if code == "disk-full"
            else "check its permissions, or use --home"
        )
    return StorageError(f"{what} cannot be written: {error.strerror or error}", hint, code=code)


def unknown(kind: str, name: str, known: Iterable[str], hint: str) -> NotFound:
    """The error for a name that is not there, with the nearest known name in its sentence."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    question = f" Did you mean {near[0]!r}?" if near else ""
    return NotFound(f"unknown {kind} {name!r}.{question}", hint, code=f"unknown-{kind.replace(' ', '-')}")
