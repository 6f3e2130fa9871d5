"""Whose files are in a folder: a database may collect, and add to, those that are its own.

Each database has an id, which goes with it into backups and copies. The folder of the files bears the id of the
database that stored the first of them.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from lftreg.errors import CheckFailed
from lftreg.outputs import make_durable
from lftreg.registry import schema as t
from lftreg.registry.blobs import Blobs
from lftreg.registry.staging import told

_OWN = select(t.meta.c.value).where(t.meta.c.key == "registry")
_ANY_FILE = select(t.files.c.sha256).limit(1)


def claim(connection: Connection, blobs: Blobs) -> None:
    """Mark the folder of the files as this database's, in a transaction that writes. Raises CheckFailed as `check`."""
    if check(connection, blobs):
        return
    with told(), blobs.staging() as stage:
        make_durable(blobs.owner.parent)
        stage.put_bytes(f"{_id(connection)}\n".encode()).staged.replace(blobs.owner)


def check(connection: Connection | None, blobs: Blobs) -> bool:
    """Whether the folder of the files bears a mark. Raises CheckFailed where it is another's, or may be."""
    found = _mark(blobs)
    if (found is None or connection is None) and not _knows(connection) and blobs.any():
        found = _mark(
            blobs
        )  # it comes before files: whoever has stored the first since we looked has left one
        if found is None or connection is None:
            raise CheckFailed(
                f"there are files in {blobs.owner.parent}, and no database that knows them",
                "bring the database back first, or correct LFTREG_DATABASE_URL or --home; nothing was changed",
                code="no-database",
            )
    if found is not None and connection is not None and found != _id(connection):
        raise CheckFailed(
            f"the files in {blobs.owner.parent} belong to another registry than this database",
            f"`lftreg config` tells which is used; where it is the right one, delete {blobs.owner}",
            code="another-registry",
        )
    return found is not None


def _mark(blobs: Blobs) -> str | None:
    with told():
        try:
            return blobs.owner.read_text(encoding="ascii", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _knows(connection: Connection | None) -> bool:
    """Whether the database has a file at all."""
    return connection is not None and connection.scalar(_ANY_FILE) is not None


def _id(connection: Connection) -> str:
    found: str = connection.execute(_OWN).scalar_one()
    return found
