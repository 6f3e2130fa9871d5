"""The playground's page, and what it browses: the registry, as `lftreg list`, `show` and `lineage` tell of it.

    GET /                               the page            GET /static/NAME   its files, and no others
    GET /api/adapters                   a page of the list: ?q= ?name= ?all= ?offset= ?limit=
    GET /api/adapters/REF               one version
    GET /api/adapters/REF/lineage       what it was made from
    GET /api/adapters/REF/losses        the curve of its training

Names go in and names come out: no REF is taken for a path, and no path of this machine is told.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lftreg.errors import InvalidData, LftregError, NotFound, Unavailable, UsageError
from lftreg.models.base import FoundBase
from lftreg.models.generate import BASE_PREFIX
from lftreg.registry import Lineage, Registry, Version, documents, parse_ref
from lftreg.serving.voices import base_name
from lftreg.training import shown
from lftreg.training.losses import Losses, running_mean

if TYPE_CHECKING:
    from lftreg.serving.engine import Engine

FOLDER = Path(__file__).parent / "playground"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No script, style or address but this server's own; no text may ever become HTML.
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
DATA = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
TYPES_OF_ERRORS = {400: "invalid_request_error", 404: "not_found_error", 503: "overloaded_error"}
STATUS: tuple[tuple[type[LftregError], int], ...] = ((NotFound, 404), (UsageError, 400), (Unavailable, 503))
MOST = 200  # rows of a page
POINTS = 2000  # of a curve: more than a screen has columns
# A path of this machine, or an address within a folder of it; `org/model` is a name of the hub.
PATH = re.compile(r"[~.]{0,2}/|[A-Za-z]:[\\/]")

Seen = Callable[[str], bool]  # whether an adapter of this name may be told
Ask = Callable[[Request, Seen], Any]
Admit = Callable[[Request], Awaitable[Seen]]

log = logging.getLogger("lftreg.serving")


def everything(name: str) -> bool:
    """Every name may be told; of a page no names have to be read to know it."""
    return True


async def anybody(request: Request) -> Seen:
    """An open door."""
    return everything


def routes(registry: Registry, base: FoundBase, engine: Engine, admit: Admit = anybody) -> list[Route]:
    """The page, its files and the browsing API.

    The page is everybody's. `admit` is asked before anything of the registry is: it raises what the application
    answers with, or gives back which names may be told.
    """
    shelf = Browser(registry, base, engine)

    def answering(ask: Ask) -> Callable[[Request], Awaitable[Response]]:
        return _answering(ask, admit)

    files = {path.name: _file(path) for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}
    return [
        Route("/", _static(files, "index.html")),
        Route("/static/{name}", _static(files)),
        Route("/api/adapters", answering(shelf.list)),
        Route("/api/adapters/{ref}", answering(shelf.show)),
        Route("/api/adapters/{ref}/lineage", answering(shelf.lineage)),
        Route("/api/adapters/{ref}/losses", answering(shelf.losses)),
    ]


class Browser:
    """What is asked of the registry. Every method reads files or the database, so none is for the event loop."""

    def __init__(self, registry: Registry, base: FoundBase, engine: Engine) -> None:
        self._registry, self._base, self._engine = registry, base, engine

    def list(self, request: Request, seen: Seen) -> dict[str, Any]:
        """Rows of `lftreg list --json`, each with whether it is loaded, and how many there are in all."""
        asked = request.query_params
        offset, limit = _whole(request, "offset", 0, 2**31), _whole(request, "limit", 50, MOST)
        total, versions = self._registry.page(
            self._base.record.fingerprint,
            asked.get("q", ""),
            name=asked.get("name"),
            all_versions=asked.get("all", "") in ("1", "true"),
            offset=offset,
            limit=limit,
            seen=None if seen is everything else seen,
        )
        loaded = set(self._engine.shelf.there)
        base = self._base.record
        return {
            "base": {
                "id": base_name(self._base),
                "fingerprint": base.fingerprint,
                "model_type": base.model_type,
                "parameters": base.parameters,
                "model": f"{BASE_PREFIX}{base_name(self._base)}",
            },
            "total": total,
            "offset": offset,
            "adapters": [
                without_paths(documents.row(version)) | {"loaded": version.digest in loaded}
                for version in versions
            ],
        }

    def show(self, request: Request, seen: Seen) -> dict[str, Any]:
        """The document of `lftreg show --json`."""
        version = self._version(request, seen)
        told = shown.read(version, self._registry)
        samples, tags = told.pop("samples"), told.pop("tags")
        loaded = version.digest in self._engine.shelf.there
        document: dict[str, Any] = without_paths(told)
        return document | {"samples": samples, "tags": tags, "loaded": loaded}

    def lineage(self, request: Request, seen: Seen) -> dict[str, Any]:
        """The document of `lftreg lineage --json`; of names that may not be told only the digest is left."""
        return _lineage(self._registry.lineage(self._version(request, seen).ref), seen)

    def losses(self, request: Request, seen: Seen) -> dict[str, Any]:
        """Columns of steps, at most POINTS of them, with the running mean of all; a row for each validation."""
        version = self._version(request, seen)
        return {"ref": version.ref} | _curve(shown.read_losses(version, self._registry))

    def _version(self, request: Request, seen: Seen) -> Version:
        """Raises NotFound for what is not there, not of this base, or not to be told."""
        ref = parse_ref(request.path_params["ref"])
        if ref.name is not None and not seen(ref.name):
            raise NotFound(f"unknown adapter {ref.name!r}", code="unknown-adapter")
        version = self._registry.get(ref)
        if version.base.fingerprint != self._base.record.fingerprint:
            raise NotFound(
                f"{version.ref} was made for another base than the one that is served here",
                code="different-bases",
            )
        return version


def without_paths(value: Any) -> Any:
    """The same document; of a path only its last part is left."""
    if isinstance(value, str):
        return re.split(r"[\\/]", value.rstrip("/\\"))[-1] if PATH.match(value) else value
    if isinstance(value, Mapping):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [without_paths(one) for one in value]
    return value


def failed(error: LftregError) -> JSONResponse:
    """An error as clients of OpenAI know it."""
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
    kind = TYPES_OF_ERRORS.get(status, "server_error")
    document = {"message": error.message, "type": kind, "param": None, "code": error.code, "hint": error.hint}
    return JSONResponse({"error": document}, status, headers=DATA)


def _answering(ask: Ask, admit: Admit) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint of a function that may wait for a disk."""

    async def endpoint(request: Request) -> Response:
        seen = await admit(request)
        try:
            document = await to_thread.run_sync(partial(ask, request, seen))
        except LftregError as error:
            return failed(error)
        except Exception:
            log.exception("%s could not be answered", request.url.path)
            return failed(LftregError("the server failed; its log says more", code="internal"))
        return JSONResponse(document, headers=DATA)

    return endpoint


def _static(
    files: Mapping[str, tuple[bytes, str, str]], always: str | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint of files that are known beforehand: nothing that is asked becomes a path."""

    async def endpoint(request: Request) -> Response:
        name = always or request.path_params["name"]
        if name not in files:
            return failed(NotFound(f"there is no file {name[:80]!r} here", code="unknown-file"))
        content, media_type, tag = files[name]
        headers = HEADERS | {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers | {"Content-Type": media_type})

    return endpoint


def _file(path: Path) -> tuple[bytes, str, str]:
    content = path.read_bytes()
    return content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _whole(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= most):
        raise InvalidData(f"{name} has to be a whole number, at most {most}", code="invalid-number")
    return int(text)


def _lineage(node: Lineage, seen: Seen) -> dict[str, Any]:
    told = documents.lineage(node)

    def hide(part: dict[str, Any]) -> dict[str, Any]:
        if not seen(part["ref"].partition("@")[0]):
            part = part | {"ref": None, "domain": None}
        return part | {"parents": [hide(parent) for parent in part["parents"]]}

    hidden: dict[str, Any] = without_paths(hide(told))
    return hidden


def _curve(losses: Losses) -> dict[str, Any]:
    steps = losses.steps
    means = running_mean([step.loss for step in steps])
    every = max(1, -(-len(steps) // POINTS))
    kept = sorted({*range(0, len(steps), every), *range(max(0, len(steps) - 1), len(steps))})
    return {
        "unit": losses.unit,
        "total": steps[-1].step if steps else 0,
        "steps": {
            "step": [steps[at].step for at in kept],
            "loss": [steps[at].loss for at in kept],
            "mean": [means[at] for at in kept],
            "lr": [steps[at].lr for at in kept],
        },
        "validations": [asdict(validation) for validation in losses.validations],
    }
