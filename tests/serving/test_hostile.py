"""Whatever is sent, the answer is a sentence with the right status, and nothing stays behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import save_tiny
from tests.serving.served import Served, publish, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "Hi"}]
GOOD = {"model": "support", "messages": HI, "max_tokens": 2}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("bases")
    base = save_tiny("llama", folder / "desk-base")
    other = save_tiny("qwen2", folder / "other-base")
    with serving(tmp_path_factory.mktemp("home"), base) as served:
        publish(served.registry, base, "support", 1)
        publish(served.registry, other, "elsewhere", 2)
        yield served
        served.settle()
        assert served.post(CHAT, GOOD).status_code == 200


def refused(response: Any, status: int, *words: str, param: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["code"]
    assert "Traceback" not in response.text
    for word in words:
        assert word in error["message"], error
    if param is not None:
        assert error["param"] == param
    return error


NAMES = [
    "suport", "../support", "/etc/passwd", "./support", "support\0", "%2e%2e%2fsupport", "%2e%2e/%2e%2e/etc/passwd",
    "\u202esupport", "ſupport", "SUPPORT", "s" * 65, "hub:org/repo", "support@", "support@nope", "support@99",
    "support@sha256:00000000", "base:other", "", " ", "a/b", "support;rm -rf", "support@../prod",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_is_none(served: Served, name: str) -> None:
    for path, body in ((CHAT, {"messages": HI}), (TEXT, {"prompt": "Hi"})):
        error = refused(served.post(path, {"model": name, **body}), 404, param="model")
        assert error["code"] in ("model_not_found", "unknown-alias", "not-found"), error
        assert "lftreg list" not in error.get("hint", "")  # a command of another machine
    refused(served.post("/generate", {"adapter": name, "prompt": "Hi"}), 404, param="adapter")


def test_a_model_of_another_base_and_sums_that_are_none(served: Served) -> None:
    refused(served.post(CHAT, GOOD | {"model": "elsewhere"}), 400, "another base", param="model")
    refused(served.post(CHAT, GOOD | {"model": "support:0.5+elsewhere:0.5"}), 400, "another base")
    refused(served.post(CHAT, GOOD | {"model": "C:\\support"}), 400, "no number", param="model")
    refused(served.post(CHAT, GOOD | {"model": "support:x"}), 400, "no number", param="model")
    refused(served.post(CHAT, GOOD | {"model": "support:inf"}), 400, "no number")
    for model in ("support:1e308", "support:-1e308+support:1e308+support:101", "support:60+support@1:60"):
        refused(served.post(CHAT, GOOD | {"model": model}), 400, "beyond 100")
    refused(served.post(CHAT, GOOD | {"model": "+".join(["support"] * 17)}), 400, "too long")
    refused(served.post(CHAT, GOOD | {"model": "support+suport"}), 404, "Did you mean")
    refused(served.post(CHAT, GOOD | {"model": "s" * 5000}), 404, "too long")


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "suport", "%FF%FE", "support%40nope", ""],
)
def test_a_path_that_names_no_model(served: Served, path: str) -> None:
    told = served.raw(f"GET /v1/models/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404"), told
    assert json.loads(body)["error"]["code"] == "model_not_found" or b"is no adapter of this registry" in body


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no json": b"{model: support}",
    "half": b'{"model": "support", "messages": [',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "not utf-8": b'{"model": "\xff\xfe"}',
    "nan": b'{"model": "support", "temperature": NaN}',
    "thousands of digits": b'{"n": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", [CHAT, TEXT, "/generate"])
def test_a_body_that_is_none(served: Served, path: str, body: bytes) -> None:
    assert refused(served.post(path, body), 400)["code"] == "invalid_json"


WRONG: list[tuple[str, Any, str]] = [
    ("model", 5, "text"), ("model", None, "missing"), ("messages", None, "missing"), ("messages", [], "at least one"),
    ("messages", "Hi", "list"), ("messages", [5], "object"), ("messages", HI * 401, "too many"),
    ("messages", [{"role": "tool", "content": "x"}], "not supported"),
    ("messages", [{"role": "wizard", "content": "x"}], "not supported"),
    ("messages", [{"role": "user"}], "content"), ("messages", [{"role": "user", "content": 5}], "text"),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "only texts"),
    ("messages", [{"role": "user", "content": "\ud800"}], "surrogate"),
    ("messages", [{"role": "assistant", "tool_calls": [{"id": "1"}]}], "not supported"),
    ("temperature", -1, "from 0 to 2"), ("temperature", 2.5, "from 0 to 2"), ("temperature", "hot", "number"),
    ("temperature", True, "number"), ("temperature", 1e400, "not JSON"), ("top_p", 0, "more than 0"),
    ("top_p", 1.5, "from 0 to 1"), ("n", 0, "from 1"), ("n", 17, "to 16"), ("n", 10**30, "to 16"), ("n", 1.5, "whole"),
    ("n", "2", "whole"), ("max_tokens", 0, "from 1"), ("max_tokens", -5, "from 1"), ("max_tokens", 10**9, "do not fit"),
    ("max_tokens", 10**12, "from 1"), ("max_completion_tokens", "many", "whole"), ("seed", 2**64, "from"),
    ("seed", "x", "whole"), ("stop", 5, "text"), ("stop", [5], "text"), ("stop", ["x"] * 17, "at most"),
    ("stop", ["\ud800"], "surrogate"), ("stream", "yes", "true or false"), ("stream_options", {}, "belong to a stream"),
    ("logprobs", 3, "true or false"), ("top_logprobs", 3, "needs logprobs"), ("top_logprobs", 30, "to 20"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "words"), WRONG, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(WRONG)]
)
def test_a_field_of_the_wrong_kind(served: Served, name: str, value: Any, words: str) -> None:
    refused(served.post(CHAT, GOOD | {name: value}), 400, words)


REFUSED: list[tuple[str, Any]] = [
    ("tools", [{"type": "function", "function": {"name": "f"}}]), ("tool_choice", "required"),
    ("response_format", {"type": "json_object"}), ("logit_bias", {"5": 1}), ("frequency_penalty", 0.5),
    ("presence_penalty", -1), ("audio", {"voice": "x"}), ("modalities", ["audio"]), ("functions", [{"name": "f"}]),
    ("best_of", 2), ("top_k", 5), ("repetition_penalty", 1.1), ("prediction", {"type": "content"}),
    ("reasoning_effort", "high"), ("web_search_options", {}), ("guided_json", {}), ("wizardry", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(served: Served, name: str, value: Any) -> None:
    error = refused(served.post(CHAT, GOOD | {name: value}), 400, name, param=name)
    assert error["code"] in ("unsupported_parameter", "unknown_parameter")


PROMPTS: list[tuple[Any, str]] = [
    (None, "missing"), ("", "empty"), ([], "texts"), ([[]], "empty"), (5, "texts"), ([5.5], "token ids"),
    ([-1], "outside"), ([10**9], "outside"), ([["a"]], "token ids"), (["a", 5], "token ids"), ([True], "token ids"),
    (["a"] * 65, "too many"), ("\ud800", "surrogate"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "words"), PROMPTS, ids=range(len(PROMPTS)))
def test_a_prompt_that_is_none(served: Served, prompt: Any, words: str) -> None:
    refused(served.post(TEXT, {"model": "support", "prompt": prompt}), 400, words)


def test_what_can_never_fit_is_not_even_read(served: Served) -> None:
    text = "x" * 3_000_000
    turns = [{"role": role, "content": "x" * 9000} for role in ("user", "assistant") * 199] + HI
    one = [{"role": "user", "content": text}]
    for path, body in ((CHAT, {"messages": one}), (CHAT, {"messages": turns}), (TEXT, {"prompt": text})):
        error = refused(served.post(path, {"model": "support", **body}), 400, "do not fit")
        assert error["code"] == "context_length_exceeded"
    refused(served.post("/generate", {"prompt": text}), 400, "do not fit")


def test_too_many_answers_at_once(served: Served) -> None:
    refused(served.post(TEXT, {"model": "support", "prompt": ["a"] * 40, "n": 2}), 400, "too many", param="n")
    refused(served.post(TEXT, {"model": "support", "prompt": ["a"] * 60}), 429, "wait already")
    served.settle()


def test_bodies_without_end(served: Served) -> None:
    large = b'{"model": "' + b"x" * (5 * 2**20) + b'"}'
    assert refused(served.post(CHAT, large), 413)["code"] == "request_too_large"

    def chunks() -> Iterator[bytes]:
        for _ in range(80):
            yield b"x" * 2**16

    refused(served.web.post(CHAT, content=chunks()), 413)
    told = served.raw(
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 99999999999999999999\r\n\r\n"
    )
    assert b" 413 " in told.split(b"\r\n")[0] or b" 400 " in told.split(b"\r\n")[0]


def test_what_is_no_http(served: Served) -> None:
    for text in (
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "\0\0\0\0",
        "GET / HTTP/9.9\r\n\r\n",
        f"GET /{'x' * 100_000} HTTP/1.1\r\n\r\n",
    ):
        told = served.raw(text)
        assert told == b"" or b" 40" in told.split(b"\r\n")[0], told
    half = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{{"
    served.raw(half, half=True)
    served.settle()


def test_addresses_and_methods(served: Served) -> None:
    refused(served.get("/v1/nowhere"), 404, "/v1/nowhere")
    refused(served.get("/v1/embeddings"), 404)
    refused(served.get("/v1/../../etc/passwd"), 404)
    for path in (CHAT, TEXT, "/generate"):
        response = served.get(path)
        refused(response, 405, "POST")
        assert response.headers["allow"] == "POST"
    refused(served.post("/v1/models", {}), 405)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", ""]
)
def test_a_foreign_name_is_not_this_machine(served: Served, host: str) -> None:
    for path in ("/v1/models", "/metrics", "/v1/models/support"):
        assert refused(served.get(path, headers={"Host": host}), 403)["code"] == "foreign_host"
    refused(served.post(CHAT, GOOD, headers={"Host": host}), 403)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:5", "[::1]:80", "localhost.", "127.9.9.9"]
)
def test_names_of_this_machine(served: Served, host: str) -> None:
    assert served.get("/v1/models", headers={"Host": host}).status_code == 200


def test_a_page_from_elsewhere_may_not_ask(served: Served) -> None:
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://["):
        error = refused(served.post(CHAT, GOOD, headers={"Origin": origin}), 403)
        assert error["code"] == "foreign_origin"
    answer = served.post(CHAT, GOOD, headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_many_at_once_of_all_kinds(served: Served) -> None:
    """More than there are rows and places to wait: each hears something, and nothing stays."""
    heard: list[int] = []

    def one(number: int) -> None:
        body: Any = GOOD | {"max_tokens": 20, "n": 1 + number % 2}
        body |= ({}, {"model": "suport"}, {"temperature": -1}, {"stream": True})[number % 4]
        heard.append(served.post(CHAT, body).status_code)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 40
    assert set(heard) <= {200, 400, 404, 429}
    assert {200, 400, 404} <= set(heard)
    served.settle()


def test_no_path_of_this_machine_is_told(served: Served, tmp_path: Path) -> None:
    for path in (
        "/v1/models",
        "/v1/models/support",
        "/v1/models/base:desk-base",
        "/metrics",
        "/v1/models/elsewhere",
    ):
        assert str(tmp_path.parent.parent) not in served.get(path).text
