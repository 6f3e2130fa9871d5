"""`lftreg serve` and `lftreg keys` as processes: what they print, what they refuse, and how a server ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lftreg.registry import Registry
from tests import forks
from tests.cli.conftest import Lftreg
from tests.conftest import save_tiny, take_ctrl_c
from tests.serving.served import LONG, publish

Server = subprocess.Popen[str] | forks.Started
Start = Callable[..., tuple[Server, dict[str, Any]]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("bases") / "desk-base", max_position_embeddings=LONG)


@pytest.fixture
def start(environment: dict[str, str], base: Path) -> Iterator[Start]:
    """Start a server on a free port; gives the process and what it says once it is ready.

    It is forked (tests/forks.py), unless it shall be `anew`: what comes after `main` is there only then.
    """
    begun: list[Server] = []

    def run(*words: str, anew: bool = False) -> tuple[Server, dict[str, Any]]:
        given = ("serve", "--base", str(base), "--port", "0", "--json", *words)
        process: Server = (
            subprocess.Popen(
                [sys.executable, "-m", "lftreg", *given],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=take_ctrl_c,
            )
            if anew
            else forks.Started(partial(forks.command, given), environment)
        )
        begun.append(process)
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line == "}\n":
                break
        return process, json.loads(told)

    yield run
    for process in begun:
        process.kill()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        process.wait(60)


def endless(url: str, tokens: int) -> Iterator[str]:
    """The events of an answer of so many tokens."""
    body = {"model": "support", "prompt": "Once", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    with httpx2.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as response:
        assert response.status_code == 200
        yield from response.iter_lines()


def test_it_answers_and_drains_when_it_is_told_to_end(start: Start, base: Path, registry: Registry) -> None:
    publish(registry, base, "support", 1)
    process, told = start("--rows", "2", "--slots", "4", anew=True)
    assert told["adapters"] == 1
    assert told["pid"] == process.pid
    assert (told["rows"], told["slots"], told["max_length"], told["keys"]) == (2, 4, LONG, False)
    assert httpx2.get(f"{told['url']}/ready").status_code == 200
    lines = endless(told["url"], 300)
    next(lines)
    process.send_signal(signal.SIGTERM)
    rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in rest[-2]
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_ctrl_c_drains_and_a_second_one_does_not(start: Start, base: Path, registry: Registry) -> None:
    publish(registry, base, "support", 1)
    process, told = start(anew=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")

    process, told = start()
    lines = endless(told["url"], LONG - 10)
    next(lines)
    process.send_signal(signal.SIGINT)
    while httpx2.get(f"{told['url']}/ready").status_code != 503:
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(err)["error"]["code"] == "interrupted"
    lines.close()  # type: ignore[attr-defined]


def test_requests_are_logged_without_what_was_asked(start: Start, base: Path, registry: Registry) -> None:
    publish(registry, base, "support", 1)
    token, _ = registry.keys.add("website")
    process, told = start("--log-requests")
    body = {"model": "support", "messages": [{"role": "user", "content": "My secret"}], "max_tokens": 2}
    with httpx2.Client(base_url=told["url"]) as web:
        given = {"Authorization": f"Bearer {token}"}
        assert web.post("/v1/chat/completions", json=body, headers=given).status_code == 200
        assert (
            web.post("/v1/chat/completions", json=body | {"model": "nobody"}, headers=given).status_code
            == 404
        )
        assert web.get("/v1/models").status_code == 401
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    lines = [json.loads(line) for line in err.splitlines()]
    keys = ("key", "method", "path", "adapter", "status")
    assert [tuple(line[key] for key in keys) for line in lines] == [
        ("website", "POST", "/v1/chat/completions", "support@1", 200),
        ("website", "POST", "/v1/chat/completions", "none", 404),
        (None, "GET", "/v1/models", None, 401),
    ]
    assert all(line["client"] == "127.0.0.1" and line["seconds"] >= 0 for line in lines)
    assert "secret" not in err and token not in err


def test_who_stops_a_server_is_told_what_it_waits_for(
    environment: dict[str, str], base: Path, registry: Registry
) -> None:
    publish(registry, base, "support", 1)
    words = ("serve", "--base", str(base), "--port", "0", "--drain", "20")
    process = forks.Started(partial(forks.command, words), environment)
    lines = endless(process.stdout.readline().split(" at ")[1].strip(), 300)
    next(lines)
    process.send_signal(signal.SIGINT)
    assert list(lines)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "waiting for 1 answer, 20 s at most; Ctrl-C stops at once\n" in err


def test_what_cannot_be_served_is_a_sentence(lftreg: Lftreg, base: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert lftreg("serve", "--port", port, "--json", code=2).error["code"] == "port-taken"
    error = lftreg("serve", "--host", "0.0.0.0", "--port", "0", "--json", code=2).error
    assert error["code"] == "needs-key"
    assert "lftreg keys add" in error["hint"]
    assert lftreg("serve", "--host", "nowhere.invalid", "--json", code=2).error["code"] == "unknown-host"
    assert lftreg("serve", "--port", "0", "--base", "./nothing", "--json", code=3).error["hint"]
    bert = save_tiny("bert", tmp_path / "bert")
    error = lftreg("serve", "--port", "0", "--base", str(bert), "--json", code=2).error
    assert error["code"] == "not-served"
    broken = save_tiny("llama", tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{}")
    assert (
        "tokenizer"
        in lftreg("serve", "--port", "0", "--base", str(broken), "--json", code=2).error["message"]
    )
    for words in (
        ["--rows", "0"],
        ["--port", "70000"],
        ["--timeout", "0"],
        ["--quantize", "int3"],
        ["--cors", "desk.example/x"],
    ):
        lftreg("serve", *words, code=2)


def test_the_extra_is_asked_for_by_name(lftreg: Lftreg, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'uvicorn' else find(name, *more)\n"
    )
    import os

    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    error = lftreg("serve", "--json", code=5, PYTHONPATH=path).error
    assert error["message"] == "serving needs the uvicorn package"
    assert error["hint"] == "pip install 'lftreg[serve]'"


def test_keys_are_made_listed_and_taken_away(lftreg: Lftreg, home: Path) -> None:
    assert lftreg("keys", "list", "--json").document == []
    words = ("--scope", "generate", "--adapter", "support*", "--per-minute", "5", "--expires", "30d")
    made = lftreg("keys", "add", "intern", *words, "--json").document
    assert made["token"].startswith("lft-")
    assert (made["scopes"], made["adapters"], made["per_minute"]) == (["generate"], ["support*"], 5)
    done = lftreg("keys", "add", "website")
    assert done.out.startswith("lft-")
    assert len(done.out.split()) == 1
    (listed, other) = lftreg("keys", "--json").document
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert other["expires_at"] is None
    table = lftreg("keys", "list").out
    assert "intern" in table
    assert "support*" in table
    for file in home.rglob("*"):
        assert not file.is_file() or made["token"].encode() not in file.read_bytes()
    assert lftreg("keys", "rm", "interm", "--json", code=3).error["code"] == "unknown-key"
    lftreg("keys", "rm", "intern")
    assert [key["name"] for key in lftreg("keys", "list", "--json").document] == ["website"]


@pytest.mark.parametrize("when", ["yesterday", "2001-01-01", "0", "30y", "", "99999d99"])
def test_a_key_that_would_have_ended_is_not_made(lftreg: Lftreg, when: str) -> None:
    assert (
        "no time to come" in lftreg("keys", "add", "k", "--expires", when, "--json", code=2).error["message"]
    )
    assert lftreg("keys", "add", "k", "--scope", "root", "--json", code=2).error["code"] == "usage"
