"""A hub on this machine: datasets over HTTP, as far as the unmodified client asks for them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0de"


@dataclass
class Hub:
    """What is on it, and what was asked for: `asked` are method and path of every request."""

    url: str
    datasets: Mapping[str, Mapping[str, bytes]]
    gated: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)


@contextmanager
def serve(datasets: Mapping[str, Mapping[str, bytes]], gated: frozenset[str] = frozenset()) -> Iterator[Hub]:
    """A hub that holds these datasets, file by file, each of one commit that is also called main and v1."""
    hub = Hub("", datasets, gated)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            repo = "/".join(path.removeprefix("/api").removeprefix("/datasets/").split("/")[:2])
            if repo not in hub.datasets:
                self._refuse(404, "RepoNotFound")
            elif repo in hub.gated:
                self._refuse(403, "GatedRepo")
            else:
                self._of(hub.datasets[repo], path.partition(repo)[2].split("/")[1:], path.startswith("/api/"))

        def _of(self, files: Mapping[str, bytes], words: list[str], api: bool) -> None:
            what, revision, *rest = [*words, "main", "main"][: max(2, len(words))]
            if not words:
                what, revision = "revision", "main"
            if revision not in ("main", "v1", COMMIT):
                self._refuse(404, "RevisionNotFound")
            elif api and what == "revision":
                siblings = [{"rfilename": name} for name in files]
                self._send(json.dumps({"id": "x/y", "sha": COMMIT, "siblings": siblings}).encode())
            elif api and what == "tree":
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
                    for name, content in files.items()
                ]
                self._send(json.dumps(tree).encode())
            elif what == "resolve" and "/".join(rest) in files:
                content = files["/".join(rest)]
                self._send(content, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": COMMIT})
            else:
                self._refuse(404, "EntryNotFound")

        def _send(self, content: bytes, headers: Mapping[str, str] = {}) -> None:
            self.send_response(200)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
