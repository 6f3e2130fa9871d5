"""The rules that a remote has to keep, checked by sending a small parcel to a place and fetching it again."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lftreg.errors import LftregError
from lftreg.plugins.offers import REMOTE
from lftreg.plugins.types import Errand, Parcel, Remote, Sent, Taken

_FILES = {
    "adapter_model.safetensors": bytes(range(256)) * 40,
    "adapter_config.json": b'{"peft_type": "LORA"}\n',
    "README.md": "# Ein Kärtchen\n".encode(),
    "lftreg.json": b"{}\n",
}


def check_remote(remote: Remote, place: str) -> list[str]:
    """What is wrong with a remote, as sentences that go on from its name; nothing if it is right."""
    if problem := REMOTE.problem(remote):
        return [f"is refused: {problem}"]
    try:
        with tempfile.TemporaryDirectory(prefix="lftreg-") as folder:
            return [*_broken(remote, place, Path(folder))]
    except (Exception, SystemExit) as error:  # noqa: BLE001 a plugin may raise anything
        cause = error.__cause__ if isinstance(error, LftregError) and error.__cause__ else error
        return [f"does not send and fetch: {type(cause).__name__}: {cause}"]


def _broken(remote: Remote, place: str, folder: Path) -> Iterator[str]:
    files = {name: folder / name for name in _FILES}
    for name, path in files.items():
        path.write_bytes(_FILES[name])
    sent: Any = remote.push(Parcel(place, files, "a check"))
    if not isinstance(sent, Sent):
        yield f"gives a {type(sent).__name__} for a parcel, and no Sent"
        return
    if sent.unchanged:
        yield f"says that {place!r}, which has to be empty, holds the parcel already"
    again = remote.push(Parcel(place, files, "a check", known=sent.commit))
    if not again.unchanged or again.transferred or again.commit != sent.commit:
        yield "sends the same content again"
    yield from _broken_pull(remote, place, folder, sent)


def _broken_pull(remote: Remote, place: str, folder: Path, sent: Sent) -> Iterator[str]:
    into = folder / "into"
    into.mkdir()
    taken: Any = remote.pull(Errand(place, None, dict.fromkeys([*_FILES, "nothing.json"]), into))
    if not isinstance(taken, Taken):
        yield f"gives a {type(taken).__name__} for an errand, and no Taken"
        return
    if taken.commit != sent.commit:
        yield f"fetches commit {taken.commit!r}, and sent {sent.commit!r}"
    if set(taken.files) != set(_FILES):
        yield f"fetches {', '.join(sorted(taken.files)) or 'nothing'} of {', '.join(sorted(_FILES))}"
    for name in set(taken.files) & set(_FILES):
        path = into / name
        whole = path.is_file() and path.read_bytes() == _FILES[name]
        if not whole or taken.files[name] != hashlib.sha256(_FILES[name]).hexdigest():
            yield f"does not bring {name} back as it was"
    asked: list[str] = []

    def have(commit: str) -> bool:
        asked.append(commit)
        return True

    (folder / "again").mkdir()
    known = remote.pull(Errand(place, None, dict.fromkeys(_FILES), folder / "again", have))
    if known.files or asked != [sent.commit]:
        yield "fetches a commit that is here already"
