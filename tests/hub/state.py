"""What a hub holds: repositories, their commits, and the large files beside them. All in memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

MAIN = "refs/heads/main"


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Stored:
    """A file of a commit; `lfs` says that it is kept as a large one."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        ).encode()

    @property
    def oid(self) -> str:
        return git_id(self.pointer if self.lfs else self.content)


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: str | None
    files: Mapping[str, Stored]
    message: str
    by: str

    @property
    def content(self) -> dict[str, bytes]:
        return {path: file.content for path, file in self.files.items()}


@dataclass
class Repo:
    """A repository; `refs` maps `refs/heads/main`, `refs/tags/v1` and `refs/pr/1` to commits."""

    id: str
    private: bool = False
    gated: bool = False
    tags: tuple[str, ...] = ("peft", "lora")
    downloads: int = 0
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(
        self,
        files: Mapping[str, Stored],
        message: str,
        *,
        by: str,
        ref: str = MAIN,
        parent: str | None = None,
    ) -> Commit:
        """Add a commit whose whole content is `files`, and move `ref` to it."""
        text = f"{self.id} {parent} {message} {len(self.commits)} {by} {sorted((p, f.oid) for p, f in files.items())}"
        made = Commit(hashlib.sha1(text.encode()).hexdigest(), parent, dict(files), message, by)
        self.commits[made.sha] = made
        self.refs[ref] = made.sha
        return made

    def put(self, files: Mapping[str, bytes], *, by: str = "somebody", message: str = "by hand") -> Commit:
        """Change files on main, as somebody does in the browser."""
        before = self.commits[self.refs[MAIN]] if MAIN in self.refs else None
        kept = {} if before is None else dict(before.files)
        kept |= {path: Stored(content, path.endswith(".safetensors")) for path, content in files.items()}
        return self.commit(kept, message, by=by, parent=before.sha if before else None)

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a ref or an id names."""
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        return self.commits.get(revision)

    @property
    def head(self) -> Commit:
        return self.commits[self.refs[MAIN]]

    def proposals(self) -> dict[str, Commit]:
        return {ref: self.commits[sha] for ref, sha in self.refs.items() if ref.startswith("refs/pr/")}


@dataclass
class User:
    name: str
    orgs: tuple[str, ...] = ()
    may_write: bool = True

    def owns(self, repo: str) -> bool:
        return repo.partition("/")[0] in (self.name, *self.orgs)


@dataclass(frozen=True)
class Asked:
    """A request as it came: `token` is what stood behind `Bearer`, `sent` the size of its body."""

    method: str
    path: str
    token: str | None
    sent: int
    kind: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class State:
    """A hub. `chunk` makes uploads come in parts of so many bytes, `page` is the length of a page of a tree."""

    users: dict[str, User] = field(default_factory=dict)
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    chunk: int | None = None
    page: int = 100
    elsewhere: bool = True  # large files come from another origin, as from a CDN
    echo: bool = False  # a careless server: what it refuses it quotes, token and all
    lock: threading.RLock = field(default_factory=threading.RLock)

    def repo(self, name: str, **fields: object) -> Repo:
        """A repository, made with the file that the hub puts into a new one."""
        made = Repo(name, **fields)  # type: ignore[arg-type]
        made.commit(
            {".gitattributes": Stored(b"*.safetensors filter=lfs\n", False)}, "initial commit", by="hub"
        )
        self.repos[name] = made
        return made

    def count(self, kind: str) -> int:
        return sum(asked.kind == kind for asked in self.asked)

    def sent(self, kind: str) -> int:
        """Bytes that came with requests of a kind."""
        return sum(asked.sent for asked in self.asked if asked.kind == kind)
