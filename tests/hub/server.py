"""A hub on this machine, over HTTP, for the unmodified client: as much of the protocol as sharing an adapter needs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.faults import Fault, Plan, broken
from tests.hub.state import MAIN, Asked, Commit, Repo, State, Stored, User

REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    def __init__(
        self, status: int, code: str = "", message: str = "", body: Mapping[str, Any] | None = None
    ) -> None:
        self.status, self.code, self.message, self.body = status, code, message, body


@dataclass
class Hub:
    """A running hub. `fault(asked)` says what goes wrong with a request, if anything does."""

    state: State
    url: str = ""
    fault: Callable[[Asked], Fault | None] = lambda asked: None
    plan: Plan | None = None  # the last one that was drawn by a seed
    outlasted: int = 0  # answers without end that a client has listened to, to the end
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0


def answered(body: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"} | named)


ROUTES: list[tuple[str, re.Pattern[str], str]] = [
    (method, re.compile(pattern), name)
    for method, pattern, name in (
        ("POST", "/api/repos/create", "create"),
        ("DELETE", "/api/repos/delete", "delete"),
        ("POST", "/api/validate-yaml", "yaml"),
        ("GET", "/api/whoami-v2", "whoami"),
        ("GET", "/api/models", "search"),
        ("POST", rf"/api/models/{REPO}/preupload/(?P<revision>.+)", "preupload"),
        ("POST", rf"/api/models/{REPO}/commit/(?P<revision>.+)", "commit"),
        ("GET", rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)", "tree"),
        ("GET", rf"/api/models/{REPO}/refs", "refs"),
        ("POST", rf"/api/models/{REPO}/tag/(?P<revision>.+)", "tag"),
        ("DELETE", rf"/api/models/{REPO}/tag/(?P<revision>.+)", "untag"),
        ("POST", rf"/api/models/{REPO}/branch/(?P<revision>.+)", "branch"),
        ("GET", rf"/api/models/{REPO}/revision/(?P<revision>.+)", "info"),
        ("GET", rf"/api/models/{REPO}", "info"),
        ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/lfs/put/(?P<oid>\w+)", "put"),
        ("PUT", r"/lfs/part/(?P<oid>\w+)/(?P<part>\d+)", "put"),
        ("POST", r"/lfs/complete/(?P<oid>\w+)", "complete"),
        ("POST", r"/lfs/verify/(?P<oid>\w+)", "verify"),
        ("GET", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
        ("GET", r"/cdn/(?P<oid>\w+)", "cdn"),
    )
]  # fmt: skip


@dataclass
class Request:
    """A request being answered."""

    hub: Hub
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    words: Mapping[str, str]
    user: User | None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def reading(self) -> Repo:
        repo = self.hub.state.repos.get(self.words["repo"])
        if repo is None or (repo.private and not (self.user and self.user.owns(repo.id))):
            raise Refused(404 if self.user else 401, "RepoNotFound", "Repository not found")
        return repo

    def writing(self) -> Repo:
        repo = self.reading()
        if self.user is None:
            raise Refused(401, message="Invalid username or password.")
        if not (self.user.owns(repo.id) and self.user.may_write) and not self.query.get("create_pr"):
            raise Refused(403, message="You don't have the rights to write here")
        return repo

    def commit(self, repo: Repo, revision: str | None = None) -> Commit:
        found = repo.find(revision or self.words.get("revision", "main"))
        if found is None:
            raise Refused(404, "RevisionNotFound", "Invalid rev id")
        return found


def create(asked: Request) -> Answer:
    body, state = asked.json, asked.hub.state
    if asked.user is None:
        raise Refused(401, message="Invalid username or password.")
    owner = body.get("organization") or asked.user.name
    name = f"{owner}/{body['name']}"
    url = {"url": f"{asked.hub.url}/{name}"}
    if not (asked.user.owns(name) and asked.user.may_write):
        raise Refused(403, message=f"You don't have the rights to create a model under the namespace {owner}")
    if name in state.repos:
        raise Refused(409, message="You already created this model repo", body=url)
    state.repo(name, private=body.get("visibility") == "private" or bool(body.get("private")))
    return answered(url)


def delete(asked: Request) -> Answer:
    body = asked.json
    asked.hub.state.repos.pop(f"{body.get('organization') or 'me'}/{body['name']}", None)
    return answered({})


def yaml(asked: Request) -> Answer:
    return answered({"errors": [], "warnings": []})


def whoami(asked: Request) -> Answer:
    if asked.user is None:
        raise Refused(401, message="Invalid username or password.")
    return answered({"type": "user", "name": asked.user.name, "orgs": [{"name": o} for o in asked.user.orgs]})


def search(asked: Request) -> Answer:
    text = asked.query.get("search", [""])[0].lower()
    wanted = set(asked.query.get("filter", []))
    found = [
        {
            "id": repo.id, "private": repo.private, "gated": repo.gated, "tags": list(repo.tags), "likes": 3,
            "downloads": repo.downloads, "lastModified": "2026-01-02T03:04:05.000Z",
        }
        for repo in asked.hub.state.repos.values()
        if text in repo.id.lower() and wanted <= set(repo.tags) and not repo.private
    ]  # fmt: skip
    found.sort(key=lambda one: -int(str(one["downloads"])))
    return answered(found[: int(asked.query.get("limit", ["100"])[0])])


def preupload(asked: Request) -> Answer:
    repo = asked.writing()
    there = asked.commit(repo, unquote(asked.words["revision"])).files
    files = []
    for file in asked.json["files"]:
        path = file["path"]
        mode = "lfs" if path.endswith(".safetensors") else "regular"
        told = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in there:
            told["oid"] = there[path].sha256 if there[path].lfs else there[path].oid
        files.append(told)
    return answered({"files": files})


def batch(asked: Request) -> Answer:
    asked.reading()
    state, url = asked.hub.state, asked.hub.url
    objects = []
    for wanted in asked.json["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        told: dict[str, Any] = {"oid": oid, "size": size}
        if oid not in state.large:
            upload: dict[str, Any] = {"href": f"{url}/lfs/put/{oid}?X-Amz-Signature=abc"}
            if state.chunk is not None:
                parts = range(1, -(-size // state.chunk) + 1)
                header = {str(part): f"{url}/lfs/part/{oid}/{part}" for part in parts}
                upload = {
                    "href": f"{url}/lfs/complete/{oid}",
                    "header": {"chunk_size": str(state.chunk), **header},
                }
            told["actions"] = {"upload": upload, "verify": {"href": f"{url}/lfs/verify/{oid}"}}
        objects.append(told)
    return answered({"transfer": "basic" if state.chunk is None else "multipart", "objects": objects})


def put(asked: Request) -> Answer:
    oid, state = asked.words["oid"], asked.hub.state
    if "part" in asked.words:
        state.parts[oid, int(asked.words["part"])] = asked.body
        return Answer(headers={"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'})
    if hashlib.sha256(asked.body).hexdigest() != oid:
        raise Refused(400, message="BadDigest")
    state.large[oid] = asked.body
    return Answer()


def complete(asked: Request) -> Answer:
    oid, state = asked.words["oid"], asked.hub.state
    content = b"".join(state.parts[oid, part["partNumber"]] for part in asked.json["parts"])
    if hashlib.sha256(content).hexdigest() != oid:
        raise Refused(400, message="the parts are not the whole")
    state.large[oid] = content
    return answered({})


def verify(asked: Request) -> Answer:
    body = asked.json
    if len(asked.hub.state.large.get(body["oid"], b"")) != body["size"]:
        raise Refused(404, message="no such object")
    return answered({})


def commit(asked: Request) -> Answer:
    repo, state = asked.writing(), asked.hub.state
    assert asked.user is not None
    proposal = bool(asked.query.get("create_pr"))
    before = asked.commit(repo, unquote(asked.words["revision"]))
    files = dict(before.files)
    summary = ""
    for line in asked.body.splitlines():
        item = json.loads(line)
        value = item["value"]
        if item["key"] == "header":
            summary = value["summary"]
            if value.get("parentCommit") not in (None, before.sha):
                raise Refused(412, message="A commit has happened since. Please refresh and try again.")
        elif item["key"] == "file":
            files[value["path"]] = Stored(base64.b64decode(value["content"]), False)
        elif item["key"] == "lfsFile":
            if value["oid"] not in state.large:
                raise Refused(400, message="no such large file")
            files[value["path"]] = Stored(state.large[value["oid"]], True)
        elif item["key"] == "deletedFile":
            files.pop(value["path"], None)
    number = len(repo.proposals()) + 1
    ref = f"refs/pr/{number}" if proposal else MAIN
    made = repo.commit(files, summary, by=asked.user.name, ref=ref, parent=before.sha)
    told = {
        "success": True,
        "commitOid": made.sha,
        "commitUrl": f"{asked.hub.url}/{repo.id}/commit/{made.sha}",
    }
    if proposal:
        told["pullRequestUrl"] = f"{asked.hub.url}/{repo.id}/discussions/{number}"
    return answered(told)


def info(asked: Request) -> Answer:
    repo = asked.reading()
    at = asked.commit(repo, unquote(asked.words.get("revision") or "main"))
    siblings = [{"rfilename": path} for path in at.files]
    return answered({"id": repo.id, "sha": at.sha, "private": repo.private, "siblings": siblings, "tags": []})


def tree(asked: Request) -> Answer:
    repo, state = asked.reading(), asked.hub.state
    if repo.gated:
        raise Refused(403, "GatedRepo", "Access to this model is restricted")
    at = asked.commit(repo, unquote(asked.words["revision"]))
    items = []
    for path, file in sorted(at.files.items()):
        item: dict[str, Any] = {"type": "file", "path": path, "size": len(file.content), "oid": file.oid}
        if file.lfs:
            item["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
        items.append(item)
    start = int(asked.query.get("cursor", ["0"])[0])
    page = items[start : start + state.page]
    more = start + state.page < len(items)
    following = f"{asked.hub.url}{asked.path}?recursive=true&cursor={start + state.page}"
    return answered(page, **({"Link": f'<{following}>; rel="next"'} if more else {}))


def refs(asked: Request) -> Answer:
    repo = asked.reading()

    def of(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": sha}
            for ref, sha in repo.refs.items()
            if ref.startswith(prefix)
        ]

    told = {"branches": of("refs/heads/"), "tags": of("refs/tags/"), "converts": []}
    if asked.query.get("include_prs"):
        told["pullRequests"] = of("refs/pr/")
    return answered(told)


def tag(asked: Request) -> Answer:
    repo, name = asked.writing(), asked.json["tag"]
    at = asked.commit(repo, unquote(asked.words["revision"]))
    if f"refs/tags/{name}" in repo.refs:
        raise Refused(409, message="Tag reference exists already")
    repo.refs[f"refs/tags/{name}"] = at.sha
    return answered({})


def untag(asked: Request) -> Answer:
    asked.writing().refs.pop(f"refs/tags/{asked.words['revision']}", None)
    return answered({})


def branch(asked: Request) -> Answer:
    repo = asked.writing()
    repo.refs[f"refs/heads/{asked.words['revision']}"] = repo.head.sha
    return answered({})


def resolve(asked: Request) -> Answer:
    repo = asked.reading()
    if repo.gated:
        raise Refused(403, "GatedRepo", "Access to this model is restricted")
    at = asked.commit(repo, unquote(asked.words["revision"]))
    file = at.files.get(unquote(asked.words["path"]))
    if file is None:
        raise Refused(404, "EntryNotFound", "Entry not found")
    headers = {"X-Repo-Commit": at.sha, "ETag": f'"{file.oid}"'}
    if file.lfs and asked.hub.state.elsewhere:
        where = f"http://localhost:{asked.hub.port}/cdn/{file.sha256}?X-Amz-Signature=abc"
        linked = {
            "Location": where,
            "X-Linked-Etag": f'"{file.sha256}"',
            "X-Linked-Size": str(len(file.content)),
        }
        asked.hub.state.large[file.sha256] = file.content
        return Answer(status=302, headers=headers | linked)
    return _ranged(asked, file.content, headers)


def cdn(asked: Request) -> Answer:
    return _ranged(asked, asked.hub.state.large[asked.words["oid"]], {})


def _ranged(asked: Request, content: bytes, headers: Mapping[str, str]) -> Answer:
    found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range", ""))
    if found is None:
        return Answer(content, headers=dict(headers))
    start = int(found[1])
    told = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    return Answer(content[start:], 206, dict(headers) | told)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _any(self) -> None:
        parts = urlsplit(self.path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        method, words, kind = self._route(parts.path)
        length = int(self.headers.get("Content-Length") or 0)
        asked = Asked(self.command, parts.path, token, length, kind)
        with self.hub.state.lock:
            self.hub.state.asked.append(asked)
            fault = self.hub.fault(asked)
        if fault is not None and fault.before(self, length):
            self.close_connection = True
            return
        request = Request(
            self.hub, self.command, parts.path, parse_qs(parts.query), self.headers, self._body(length), words,
            self.hub.state.users.get(token or ""),
        )  # fmt: skip
        with self.hub.state.lock:
            if fault is not None:
                fault.meanwhile(self.hub.state, asked)
            answer = self._answer(method, request, token)
            if fault is not None:
                fault.afterwards(self.hub.state, asked)
                answer = broken(fault, answer, asked)
        self._send(answer, fault)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any

    def _route(self, path: str) -> tuple[Callable[[Request], Answer] | None, Mapping[str, str], str]:
        for method, pattern, name in ROUTES:
            found = pattern.fullmatch(path)
            if found and method == ("GET" if self.command == "HEAD" else self.command):
                return globals()[name], found.groupdict(), name
        return None, {}, "unknown"

    def _body(self, length: int) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(length)
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(
        self, method: Callable[[Request], Answer] | None, request: Request, token: str | None
    ) -> Answer:
        try:
            if method is None:
                raise Refused(404, message=f"no route {self.command} {self.path}")
            if token is not None and request.user is None:
                raise Refused(401, message="Invalid credentials in Authorization header")
            return method(request)
        except Refused as error:
            said = error.message
            if self.hub.state.echo:
                said += f" (you said {self.headers.get('Authorization')})"
            headers = {"X-Error-Message": said, "Content-Type": "application/json"}
            if error.code:
                headers["X-Error-Code"] = error.code
            return Answer(json.dumps({"error": said, **(error.body or {})}).encode(), error.status, headers)

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        try:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                if fault is not None and fault.cuts(answer.body):
                    fault.write(self, answer.body)
                    self.close_connection = True
                else:
                    self.wfile.write(answer.body)
        except OSError:  # whoever asked has gone
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections are cut on purpose


@contextmanager
def serve(state: State | None = None) -> Iterator[Hub]:
    """A hub that listens on a port of its own until the end of the block."""
    hub = Hub(state or State())
    handler = type("OfHub", (Handler,), {"hub": hub})
    server = Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
