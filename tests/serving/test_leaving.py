"""Whoever leaves, stops reading or waits too long gives up the place: nothing stays, and others are answered."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from lftreg.serving import bodies, streaming
from tests.conftest import save_tiny
from tests.serving.served import LONG, Served, publish, serving, until
from tests.serving.test_hostile import CHAT, GOOD, HI, refused

ENDLESS = {"model": "support", "messages": HI, "max_tokens": LONG - 100, "ignore_eos": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("bases") / "desk-base", max_position_embeddings=LONG)


@pytest.fixture(scope="module")
def served(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("home"), base) as served:
        publish(served.registry, base, "support", 1)
        yield served
        served.settle()
        assert served.post(CHAT, GOOD).status_code == 200


def wire(served: Served, body: object, *, room: int | None = None) -> socket.socket:
    """A connection on which a request has been sent."""
    content = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    opened = socket.socket()
    if room is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    opened.connect(("127.0.0.1", served.port))
    opened.sendall(head.encode() + content)
    return opened


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_row_within_a_step(served: Served, stream: bool) -> None:
    engine = served.desk.ready()
    opened = wire(served, ENDLESS | {"stream": stream, "n": 3})
    until(lambda: engine.active == 3)
    opened.close()
    served.settle()
    cut = [line for line in served.get("/metrics").text.splitlines() if 'status="499"' in line]
    assert cut


def test_a_client_that_waits_in_the_queue_and_hangs_up(served: Served) -> None:
    engine = served.desk.ready()
    first = wire(served, ENDLESS | {"n": 4})
    until(lambda: engine.active == 4)
    second = wire(served, ENDLESS | {"n": 8, "stream": True})
    until(lambda: engine.waiting == 8)
    response = served.post(CHAT, GOOD)
    assert refused(response, 429, "wait already")["code"] == "rate_limit_exceeded"
    assert response.headers["retry-after"]
    second.close()
    until(lambda: engine.waiting == 0)
    assert engine.active == 4
    first.close()
    served.settle()


def test_the_client_of_openai_may_close_a_stream(served: Served) -> None:
    with served.client().chat.completions.create(
        model="support",
        messages=HI,
        max_tokens=LONG - 100,
        stream=True,
        extra_body={"ignore_eos": True},  # type: ignore[arg-type]
    ) as stream:
        next(iter(stream))
    served.settle()


def test_an_answer_that_takes_too_long(base: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", base, timeout=0.3) as served:
        publish(served.registry, base, "support", 1)
        assert refused(served.post(CHAT, ENDLESS), 504)["code"] == "timeout"
        served.settle()
        with pytest.raises(openai.APIError, match="took too long"):
            for _ in served.client().chat.completions.create(
                model="support",
                messages=HI,
                max_tokens=LONG - 100,
                stream=True,
                extra_body={"ignore_eos": True},  # type: ignore[arg-type]
            ):
                pass
        served.settle()
        assert served.post(CHAT, GOOD).status_code == 200
        assert 'lftreg_requests_total{adapter="support@1",status="504"} 2.0' in served.get("/metrics").text


def test_a_client_that_stops_reading_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STALL", 0.5)
    wordy = ENDLESS | {"stream": True, "logprobs": True, "top_logprobs": 20, "n": 4}
    with wire(served, wordy, room=4096) as stuck:
        until(lambda: served.desk.ready().active == 4)
        served.settle()
        stuck.settimeout(10)
        with pytest.raises(ConnectionError):
            while stuck.recv(65536):
                pass
            raise ConnectionError  # an end where there should be more is as good
    assert served.post(CHAT, GOOD).status_code == 200


def test_a_body_that_never_comes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.3)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as opened:
        opened.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert opened.recv(65536).startswith(b"HTTP/1.1 408")
    served.settle()


def test_a_client_that_hangs_up_in_the_middle_of_its_body(served: Served) -> None:
    def left() -> list[str]:
        lines = served.get("/metrics").text.splitlines()
        return [line for line in lines if 'adapter="none"' in line and 'status="499"' in line]

    before = left()
    served.raw(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{", half=True)
    until(lambda: left() != before)
    served.settle()


def test_draining_lets_those_end_who_are_being_answered(base: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", base) as served:
        publish(served.registry, base, "support", 1)
        statuses: list[int] = []
        some = ENDLESS | {"max_tokens": 300}
        thread = threading.Thread(target=lambda: statuses.append(served.post(CHAT, some).status_code))
        thread.start()
        until(lambda: served.desk.ready().active == 1)
        served.front.drain()
        response = served.post(CHAT, GOOD)
        assert not statuses
        assert refused(response, 503)["code"] == "stopping"
        assert response.headers["retry-after"]
        assert served.get("/ready").status_code == 503
        assert served.get("/health").status_code == 200
        thread.join()
        assert statuses == [200]


def test_draining_ends_when_its_time_is_over(base: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", base, drain=0.2) as served:
        publish(served.registry, base, "support", 1)
        statuses: list[int] = []
        thread = threading.Thread(target=lambda: statuses.append(served.post(CHAT, ENDLESS).status_code))
        thread.start()
        until(lambda: served.desk.ready().active == 1)
        served.front.drain()
        thread.join()
        assert statuses == [503]


def test_while_it_loads_it_listens_and_says_so(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is held back until the questions have been asked."""
    from lftreg.serving import desk as module

    load, go = module.load_base, threading.Event()
    heard: list[int] = []

    def later(*given: object, **more: object) -> object:
        go.wait(30)
        return load(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_base", later)

    def ask(port: int) -> None:
        import httpx2

        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as web:
            for path in ("/ready", "/v1/models", "/health", "/metrics"):
                heard.append(web.get(path).status_code)
            response = web.post(CHAT, json=GOOD)
            heard.append(response.status_code)
            assert response.headers["retry-after"]
        go.set()

    from lftreg.serving import server

    take = server.listen

    def listening(host: str, port: int) -> server.Listening:
        taken = take(host, port)
        threading.Thread(target=ask, args=(taken.port,)).start()
        return taken

    monkeypatch.setattr("tests.serving.served.listen", listening)
    with serving(tmp_path / "home", base):
        pass
    assert heard == [503, 503, 200, 200, 503]


def test_what_overflows_spoils_nobody_else(base: Path, tmp_path: Path) -> None:
    """Its numbers are left in a place of the cache that others take, beside a row that is longer."""
    short = {"model": "base:desk-base", "messages": HI, "max_tokens": 8, "temperature": 0}
    with serving(tmp_path / "home", base) as served:
        publish(served.registry, base, "wild", 1, scale=1e38)
        publish(served.registry, base, "support", 1)

        def said() -> str:
            content: str = served.post(CHAT, short).json()["choices"][0]["message"]["content"]
            return content

        alone = said()
        with wire(served, ENDLESS | {"stream": True}) as opened:
            until(lambda: served.desk.ready().active == 1)
            assert opened.recv(100)
            long = [{"role": "user", "content": "word " * 20}]
            refused(served.post(CHAT, short | {"model": "wild", "messages": long, "n": 3}), 500, "range")
            assert [said() for _ in range(4)] == [alone] * 4
        served.settle()


def test_a_hundred_who_come_and_go(served: Served) -> None:
    """Some hang up before, some within, some after their answer."""
    engine = served.desk.ready()
    for number in range(60):
        opened = wire(served, ENDLESS | {"stream": number % 2 == 0, "max_tokens": 1 + 40 * (number % 3)})
        if number % 3:
            time.sleep(0.002 * (number % 7))
        opened.close()
    served.settle()
    assert engine.shelf.there
