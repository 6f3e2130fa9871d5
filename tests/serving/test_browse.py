"""The browsing API: what the commands tell, by names alone."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.registry import Base, Draft, Registry
from lftreg.registry.documents import lineage, row
from lftreg.serving.browse import FOLDER, Seen, routes, without_paths
from lftreg.serving.engine import Engine
from lftreg.training import shown

from ..conftest import Tiny
from .shop import EVIL, document, fetch, publish, served, stock


async def all_but_beta(request: Request) -> Seen:
    return (lambda name: name != "beta") if "x-restricted" in request.headers else (lambda name: True)


@pytest.fixture(scope="module")
def base(tiny: Tiny) -> Path:
    return tiny("llama")


@pytest.fixture(scope="module")
def kept(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = stock(tmp_path_factory.mktemp("stock"), base)
    weights = registry.file(registry.get("alpha"), "adapter_model.safetensors")
    other = Base("e" * 64, "another", "llama", 1)
    registry.publish(Draft("foreign", "imported", other, weights, registry.config(registry.get("alpha"))))
    return registry


@pytest.fixture(scope="module")
def url(base: Path, kept: Registry) -> Iterator[str]:
    found = find_base(str(base), kept)
    engine = Engine(load_base(found), kept, rows=2, slots=2, rank=4)
    with served(Starlette(routes=routes(kept, found, engine, all_but_beta))) as address:
        yield address
    engine.close()


def test_the_list_is_that_of_the_command_and_of_this_base_alone(url: str, kept: Registry, base: Path) -> None:
    told = document(f"{url}/api/adapters")
    assert told["total"] == 3
    assert [one["name"] for one in told["adapters"]] == ["both", "beta", "alpha"]
    for one in told["adapters"]:
        assert one.pop("loaded") is False
        assert one == row(kept.get(one["ref"])) | {"base": base.name}
    assert told["base"]["model"] == f"base:{base.name}"


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("q=alpha", ["alpha"]),
        ("q=PROD", ["alpha"]),
        ("q=team+desk", ["alpha"]),
        ("q=team+nothing", []),
        ("q=%25", []),
        ("name=beta", ["beta"]),
        ("offset=1&limit=1", ["beta"]),
        ("offset=3", []),
        ("limit=0", []),
    ],
)
def test_the_list_is_searched_and_cut_into_pages(url: str, asked: str, names: list[str]) -> None:
    assert [one["name"] for one in document(f"{url}/api/adapters?{asked}")["adapters"]] == names


def test_every_version_is_there_for_the_asking(url: str, kept: Registry, base: Path, tmp_path: Path) -> None:
    publish(kept, base, tmp_path, "beta", 9)
    assert document(f"{url}/api/adapters?q=beta")["total"] == 1
    versions = document(f"{url}/api/adapters?q=beta&all=1")
    assert [one["ref"] for one in versions["adapters"]] == ["beta@2", "beta@1"]
    kept.remove("beta@2")
    assert document(f"{url}/api/adapters?q=beta&all=1")["total"] == 1


def test_a_version_is_told_as_show_tells_it(url: str, kept: Registry) -> None:
    told, version = document(f"{url}/api/adapters/alpha@prod"), kept.get("alpha")
    assert told.pop("loaded") is False
    expected = json.loads(json.dumps(shown.read(version, kept)))
    assert told["samples"] == expected["samples"]
    assert told == without_paths(expected) | {"samples": expected["samples"]}
    assert told["tags"] == {"note": EVIL, "team": "desk"}
    assert told["run"]["settings"]["data"] == "inbox.jsonl"
    assert told["scores"][0]["metrics"]["perplexity"]["ci95"] == [-5.0, -3.0]


def test_lineage_is_that_of_the_command(url: str, kept: Registry) -> None:
    assert document(f"{url}/api/adapters/both/lineage") == lineage(kept.lineage("both"))


def test_a_curve_has_columns_and_a_running_mean(url: str) -> None:
    told = document(f"{url}/api/adapters/alpha/losses")
    assert told["steps"]["step"] == list(range(1, 61))
    assert len(told["steps"]["mean"]) == len(told["steps"]["loss"]) == 60
    assert [one["step"] for one in told["validations"]] == [0, 20, 40, 60]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/adapters/alpah", 404, "unknown-adapter"),
        ("/api/adapters/alpha@9", 404, "unknown-version"),
        ("/api/adapters/foreign", 404, "different-bases"),
        ("/api/adapters/beta/losses", 404, "no-losses"),
        ("/api/adapters/ALPHA", 400, "invalid-reference"),
        ("/api/adapters/hub:org%2Fname", 404, None),
        ("/api/adapters/..%2F..%2Fetc%2Fpasswd", 404, None),
        ("/api/adapters/..", 400, "invalid-reference"),
        ("/api/adapters?limit=201", 400, "invalid-number"),
        ("/api/adapters?offset=-1", 400, "invalid-number"),
        ("/static/nothing.js", 404, "unknown-file"),
    ],
)
def test_errors_look_as_clients_know_them(url: str, path: str, status: int, code: str | None) -> None:
    found, _, content = fetch(f"{url}{path}")
    assert found == status
    if code is not None:
        error = json.loads(content)["error"]
        assert error["code"] == code
        assert {"message", "type", "param"} <= error.keys()


def test_only_files_of_the_page_are_given_out(url: str) -> None:
    for path in FOLDER.iterdir():
        status, headers, content = fetch(f"{url}/static/{path.name}")
        assert (status, content) == (200, path.read_bytes())
        assert headers["x-content-type-options"] == "nosniff"
        assert "'self'" in headers["content-security-policy"]
        assert fetch(f"{url}/static/{path.name}", **{"If-None-Match": headers["etag"]})[0] == 304
    assert fetch(f"{url}/")[2] == (FOLDER / "index.html").read_bytes()
    where = urlsplit(url)
    for asked in (
        "../browse.py",
        "..%2fbrowse.py",
        "%2e%2e/browse.py",
        "....//browse.py",
        "/etc/passwd",
        "app.js%00",
    ):
        connection = http.client.HTTPConnection(where.hostname or "", where.port)
        connection.request("GET", f"/static/{asked}")  # as it is, which a browser would not do
        assert connection.getresponse().status == 404, asked
        connection.close()


def test_the_page_asks_nobody_else_and_has_no_script_of_its_own() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text, path
        assert not any(
            way in text for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write")
        ), path
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert "style=" not in page and "<style" not in page and page.count("<script") == 1


def test_a_door_hides_what_is_not_for_all(url: str) -> None:
    def asked(path: str) -> tuple[int, bytes]:
        status, _, content = fetch(f"{url}{path}", **{"X-Restricted": "1"})
        return status, content

    assert json.loads(asked("/api/adapters")[1])["total"] == 2
    status, content = asked("/api/adapters/beta")
    assert (status, json.loads(content)["error"]["code"]) == (404, "unknown-adapter")
    assert [one["ref"] for one in json.loads(asked("/api/adapters/both/lineage")[1])["parents"]] == [
        "alpha@1",
        None,
    ]
    assert asked("/")[0] == 200


@pytest.mark.parametrize(
    ("value", "kept_of_it"),
    [
        ("/srv/data/inbox.jsonl", "inbox.jsonl"),
        ("./inbox.jsonl", "inbox.jsonl"),
        ("~/models/base/", "base"),
        ("C:\\data\\x.csv", "x.csv"),
        ("org/model", "org/model"),
        ("support@3", "support@3"),
        ({"a": ["/x/y", 1, None]}, {"a": ["y", 1, None]}),
    ],
)
def test_of_a_path_its_name_is_left(value: object, kept_of_it: object) -> None:
    assert without_paths(value) == kept_of_it
