"""The Hugging Face Hub, or any server that speaks like it: adapters sent, taken and found."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lftreg.errors import CheckFailed, InvalidData, InvalidReference, LftregError, NotFound, StorageError
from lftreg.plugins.types import Errand, Hit, Patience, Taken
from lftreg.remotes.asking import Asking, asking
from lftreg.remotes.failures import lost_of, nonsense

CHUNK = 1 << 20
COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]{0,199}", re.ASCII)
MOST_FILES = 20_000  # of a repository
DAMAGED = 3  # times that a file may come damaged


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a commit: its size, and the sha256 of a large file or else the id that git gives its content."""

    path: str
    size: int
    sha256: str | None
    git: str

    def is_like(self, file: Local) -> bool:
        return self.size == file.size and (
            file.sha256 == self.sha256 if self.sha256 is not None else file.git == self.git
        )


@dataclass(frozen=True, slots=True)
class Local:
    """A file on this disk, with both of its names."""

    size: int
    sha256: str
    git: str


def measure(path: Path) -> Local:
    """Size, sha256 and git's id of a file, read once."""
    size = path.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    return Local(size, sha256.hexdigest(), git.hexdigest())


def check_repo(place: str) -> str:
    """The name of a repository. Raises InvalidReference."""
    if not _REPO.fullmatch(place) or ".." in place or "--" in place or place.endswith((".git", ".", "-")):
        raise InvalidReference(f"{place[:80]!r} is no repository", "write ORG/NAME")
    return place


def check_revision(revision: str) -> str:
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision or revision.endswith("/"):
        raise InvalidReference(f"{revision[:80]!r} is no revision", "a branch, a tag or a commit")
    return revision


def info(hub: Asking, repo: str, revision: str | None = None) -> tuple[str | None, bool]:
    """The commit that a revision names now, and whether the repository is private."""
    found = hub.repeat(lambda: hub.api.model_info(repo, revision=revision))
    sha: Any = found.sha
    if sha is not None and (not isinstance(sha, str) or not COMMIT.fullmatch(sha)):
        raise nonsense(hub, "a commit that is none")
    return sha, bool(found.private)


def tree(hub: Asking, repo: str, commit: str) -> dict[str, Entry]:
    """The files of a commit by their paths. Raises InvalidData where one of them leads out of the repository."""

    def ask() -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        items: Iterable[Any] = hub.api.list_repo_tree(repo, recursive=True, revision=commit)
        for item in items:
            _check_path(item.path)
            if not hasattr(item, "size"):
                continue
            lfs: Any = item.lfs
            entry = Entry(item.path, item.size, None if lfs is None else lfs.sha256, item.blob_id)
            if entry.path in found:
                raise InvalidData(
                    f"{repo} lists {item.path!r:.80} twice", "nothing was taken", code="remote-path"
                )
            if not isinstance(entry.size, int) or not isinstance(entry.sha256 or entry.git, str):
                raise nonsense(hub, "a file without a size or a digest")
            found[entry.path] = entry
            if len(found) > MOST_FILES:
                raise InvalidData(
                    f"{repo} has more than {MOST_FILES} files",
                    "is it an adapter's repository?",
                    code="too-many-files",
                )
        return found

    return hub.repeat(ask)


def _check_path(path: Any) -> None:
    plain = isinstance(path, str) and 0 < len(path) <= 1024 and path.isprintable()
    if not plain or "\\" in path or path[1:2] == ":" or {"", ".", ".."} & set(path.split("/")):
        raise InvalidData(
            f"the server lists {path!r:.80}, which leads out of the repository",
            "nothing was taken; do not trust that server",
            code="remote-path",
        )


def pull(errand: Errand) -> Taken:
    """Take files of one commit, whatever is moved meanwhile, each proven by the digest that the commit has for it.

    Raises NotFound, TokenNeeded, Unavailable, InvalidData for a server that lies, CheckFailed for damage.
    """
    repo = check_repo(errand.place)
    revision = None if errand.revision is None else check_revision(errand.revision)
    with asking(errand.patience, errand.told) as hub:
        commit, _ = info(hub, repo, revision)
        if commit is None:
            raise NotFound(f"{repo} is empty", "nothing was pushed to it yet", code="no-adapter")
        url = f"{hub.endpoint}/{repo}/tree/{commit}"
        if errand.have(commit):
            return Taken(commit, url, {}, hub.host)
        entries = tree(hub, repo, commit)
        files = {}
        for name, largest in errand.wants.items():
            if (entry := entries.get(name)) is None or (largest is not None and entry.size > largest):
                continue
            files[name] = _fetch(hub, repo, commit, entry, errand.into / name)
        if not files.keys() & {"adapter_model.safetensors"}:
            _refuse_pickles(repo, entries)
        return Taken(commit, url, files, hub.host)


def _refuse_pickles(repo: str, entries: Mapping[str, Entry]) -> None:
    pickled = next((name for name in entries if name in ("adapter_model.bin", "adapter_model.pt")), None)
    if pickled is not None:
        raise InvalidData(
            f"{repo} has only {pickled}, a pickle, which can run code when it is opened",
            "ask its author for safetensors",
            code="pickle",
        )


def _fetch(hub: Asking, repo: str, commit: str, entry: Entry, target: Path) -> str:
    """Write a file and prove it. Returns its sha256. Raises CheckFailed where it comes damaged again and again."""
    free = shutil.disk_usage(target.parent).free
    if entry.size > free:
        raise StorageError(
            f"{entry.path} has {entry.size:,} bytes, and {free:,} are free",
            "free some space; nothing was taken",
        )
    damaged = 0
    for turn in range(1, hub.patience.tries + DAMAGED):
        try:
            _receive(hub, repo, commit, entry, target)
        except Exception as error:
            lost = lost_of(error)
            if lost is None and not isinstance(error, hub.library.TransportError):
                raise
            if turn - damaged >= hub.patience.tries or (lost is not None and lost.tried):
                raise
            hub.pause(turn - damaged, None if lost is None else lost.wait)
            continue
        found = measure(target)
        if entry.is_like(found):
            return found.sha256
        target.unlink()
        damaged += 1
        if damaged >= DAMAGED:
            break
    raise CheckFailed(
        f"{entry.path} of {repo} does not arrive as its commit says: its digest is another, {damaged} times",
        "nothing was registered; try again, or tell those who run the server",
        code="damaged-download",
    )


def _receive(hub: Asking, repo: str, commit: str, entry: Entry, target: Path) -> None:
    """Write a file, going on from what is there of it. No more than its size is taken."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(repo, entry.path, revision=commit, endpoint=hub.endpoint)
    done = target.stat().st_size if target.exists() else 0
    if done >= entry.size:
        done = 0
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
        hf_raise_for_status(response)
        whole = response.status_code != 206
        done = 0 if whole else done
        with target.open("wb" if whole else "ab") as file:
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk[: entry.size - done])
                done += len(chunk)
                hub.told(f"fetching {entry.path}", min(done, entry.size), entry.size)
                if done > entry.size:
                    return  # the digest tells


def search(text: str, limit: int, patience: Patience) -> Iterable[Hit]:
    """Adapters of the hub whose name or card has a text, those that are fetched most first."""
    with asking(patience, lambda title, done, total: None) as hub:
        return hub.repeat(lambda: [*_hits(hub, text, limit)])


def _hits(hub: Asking, text: str, limit: int) -> Iterator[Hit]:
    wanted: list[Any] = ["downloads", "likes", "lastModified", "private", "gated", "tags"]
    found = hub.api.list_models(filter="lora", search=text, limit=limit, sort="downloads", expand=wanted)
    for model in found:
        tags = tuple(str(tag) for tag in model.tags or ())
        bases = [tag.rpartition(":")[2] for tag in tags if tag.startswith("base_model:")]
        at = model.last_modified
        if not isinstance(model.id, str):
            raise LftregError(f"{hub.host} tells of a model without a name", code="remote-answer")
        yield Hit(
            f"hub:{model.id}",
            bases[0] if bases else None,
            model.downloads,
            model.likes,
            None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            bool(model.private),
            bool(model.gated),
            tags,
        )
