"""What is asked of the registry, without vLLM: names, bases, servability, the list, and names that move."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from lftreg.errors import CheckFailed, Incompatible, InvalidReference, LftregError, NotFound
from lftreg.registry import WEIGHTS, Base, Registry, Version
from lftreg_vllm.desk import BASE, Desk, number_of, pinned, registry_ref
from lftreg_vllm.listing import merged
from lftreg_vllm.pinning import Pinning

Publish = Callable[..., Version]
OTHER = Base("e" * 64, "org/other", "llama", 1)
HOSTILE = [
    "", ".", "..", "../support", "../../etc/passwd", "/etc/passwd", "./support", "~/support", "support/../support",
    "support\x00", "\x00", "support\n", "%2e%2e%2fsupport", "support%00", "%2e", "süpport",
    "\uff53upport", "support\u202e",
    "Support", "hub:org/model", "org/model", "C:\\support", "support@", "@sha256:", "support@sha256:zz",
    "support@sha256:" + "0" * 65, "support@../3", "support@-1", "support@0", "support@1@1", "s" * 65, "s" * 100_000,
    "support@sha256:9f2c/../..", "file:///etc/passwd", "s3://bucket/support", "support:0.7", "$(id)", "support;id",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:30])
def test_hostile_names_are_no_references_and_write_nothing(
    name: str, desk: Desk, registry: Registry, publish: Publish, served: str
) -> None:
    publish()
    with pytest.raises((InvalidReference, NotFound)):
        desk.resolve_now(served, name)
    assert not registry.home.exports.exists()


def test_every_form_of_a_name_is_one_adapter(
    desk: Desk, registry: Registry, publish: Publish, served: str
) -> None:
    made = publish()
    registry.alias("support", "prod")
    forms = ["support", "support@1", "support@prod", f"support@sha256:{made.digest[:8]}", pinned(made)]
    found = [desk.resolve_now(served, form) for form in forms]
    assert {(one.name, one.number, one.folder) for one in found} == {
        (
            f"support@sha256:{made.digest}",
            number_of(made.digest),
            registry.home.exports / "vllm" / made.digest,
        )
    }
    assert (found[0].folder / WEIGHTS).read_bytes() == registry.read(made, WEIGHTS)
    assert 1 <= number_of("0" * 64) <= number_of("f" * 64) < 2**63


def test_a_name_follows_its_alias(desk: Desk, registry: Registry, publish: Publish, served: str) -> None:
    one, two = publish(), publish(seed=1)
    registry.alias("support@1", "prod")
    assert desk.resolve_now(served, "support@prod").name == pinned(one)
    registry.alias("support@2", "prod")
    assert desk.resolve_now(served, "support@prod").name == pinned(two)
    assert asyncio.run(desk.pin("support@prod")) == pinned(two)
    registry.remove("support@2")
    with pytest.raises(LftregError):
        desk.resolve_now(served, "support@2")


def test_another_base_is_refused(
    desk: Desk, publish: Publish, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(base=OTHER)
    with pytest.raises(
        Incompatible, match=r"support@1 was made for base 'org/other' \(eeeeeeeeeeee\)"
    ) as told:
        desk.resolve_now(served, "support")
    assert told.value.code == "other-base"
    with pytest.raises(NotFound, match="neither a folder nor in the cache of the hub"):
        desk.resolve_now("org/quantised", "support")
    for said in ("org/other", "e" * 12):
        monkeypatch.setenv(BASE, said)
        assert Desk().resolve_now("org/quantised", "support").version.ref == "support@1"
    monkeypatch.setenv(BASE, "nowhere")
    with pytest.raises(NotFound, match="LFTREG_VLLM_BASE=nowhere is no base"):
        Desk().resolve_now(served, "support")


def test_what_vllm_would_refuse_is_refused_with_the_reason(
    desk: Desk, registry: Registry, publish: Publish, served: str
) -> None:
    publish(use_dora=True)
    with pytest.raises(Incompatible, match="vLLM cannot serve support@1: it is a DoRA"):
        desk.resolve_now(served, "support")
    assert not registry.home.exports.exists()


def test_damaged_files_are_not_served(desk: Desk, registry: Registry, publish: Publish, served: str) -> None:
    made = publish()
    blob = registry.file(made, WEIGHTS)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(CheckFailed):
        desk.resolve_now(served, "support")


def test_the_list_holds_what_can_be_served(
    desk: Desk, registry: Registry, publish: Publish, served: str
) -> None:
    one, two = publish(), publish(seed=1)
    wide, gone = publish("wide", seed=2, rank=20), publish("gone", seed=3)
    publish("dora", seed=4, use_dora=True)
    publish("elsewhere", seed=5, base=OTHER)
    again = publish(seed=1)  # the same content as two
    registry.remove("gone")
    assert {pinned(v) for v in desk.listed(served)} == {pinned(one), pinned(two), pinned(wide)}
    assert {pinned(v) for v in desk.listed(served, 16)} == {pinned(one), pinned(two)}
    assert [v.ref for v in desk.listed(served, 16)] == [again.ref, one.ref] and gone.name == "gone"


def test_cards_stand_beside_those_of_vllm(registry: Registry, publish: Publish, served: str) -> None:
    one, two = publish(), publish(seed=1)
    registry.alias("support@2", "prod")
    shown = [
        {"id": "base", "object": "model", "permission": [1]},
        {"id": pinned(one), "object": "model", "permission": [2]},
        {"id": pinned(one), "object": "model", "permission": [2]},  # asked for under two names
    ]
    base, loaded, other = asyncio.run(merged(Desk(), shown, served))
    assert base == shown[0]
    assert (loaded["id"], loaded["permission"], loaded["lftreg"]["loaded"]) == (pinned(one), [2], True)
    assert (other["id"], other["parent"], other["object"]) == (pinned(two), "base", "model")
    assert other["lftreg"] == {
        "ref": "support@2", "digest": f"sha256:{two.digest}", "aliases": ["prod"], "domain": None, "rank": 4,
        "loaded": False,
    }  # fmt: skip


def test_without_a_registry_vllm_still_lists_its_own(registry: Registry) -> None:
    shown = [{"id": "base"}]
    assert asyncio.run(merged(Desk(), shown, "org/not-here")) == shown


# Names that move


async def _through(body: bytes, served: Any = None) -> tuple[bytes, dict[bytes, bytes]]:
    """What the app behind the middleware is given: the body, and the headers."""
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message["more_body"] is False
        got.extend((message["body"], dict(scope["headers"])))
        assert (await receive())["type"] == "http.disconnect"

    pieces = [body[:5], body[5:]]
    messages = [{"type": "http.request", "body": piece, "more_body": piece is pieces[0]} for piece in pieces]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        return messages.pop(0)

    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": headers,
        "app": served,
    }
    await Pinning(app, Desk())(scope, receive, None)  # type: ignore[arg-type]
    return got[0], got[1]


def test_a_name_that_moves_is_pinned_in_the_request(registry: Registry, publish: Publish) -> None:
    one, two = publish(), publish(seed=1)
    registry.alias("support@1", "prod")
    body = json.dumps({"model": "support@prod", "messages": [{"role": "user", "content": "Grüß"}]}).encode()
    for wanted in (one, two):
        registry.alias(wanted.ref, "prod")
        new, headers = asyncio.run(_through(body))
        assert json.loads(new) == json.loads(body) | {"model": pinned(wanted)}
        assert headers[b"content-length"] == b"%d" % len(new)


def test_what_is_no_reference_passes_byte_for_byte(publish: Publish) -> None:
    made = publish()
    for body in (
        b'{"model":  "org/base"}', b'{"model": "nobody"}', b'{"model": 7}', b"[1, 2, 3]", b"not json", b"{}      ",
        b'{"model":  "%s"}' % pinned(made).encode(), b'{"model": "../support"}',
    ):  # fmt: skip
        assert asyncio.run(_through(body))[0] == body


def test_the_served_model_wins_over_an_adapter_of_its_name(publish: Publish) -> None:
    class Path:
        name = "support"

    class App:
        class state:
            class openai_serving_models:
                base_model_paths = (Path,)

    publish()
    body = b'{"model":  "support"}'
    assert asyncio.run(_through(body, App))[0] == body
    assert asyncio.run(_through(body))[0] != body


def test_other_kinds_of_bodies_are_not_touched(publish: Publish) -> None:
    publish()
    passed: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append((scope, receive))

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"multipart/form-data")]}
    asyncio.run(Pinning(app, Desk())(scope, None, None))  # type: ignore[arg-type]
    asyncio.run(Pinning(app, Desk())({"type": "websocket"}, None, None))  # type: ignore[arg-type]
    assert passed == [(scope, None), ({"type": "websocket"}, None)]


def test_references_are_read_as_by_the_command() -> None:
    assert registry_ref("support@prod").alias == "prod"
    assert registry_ref("support@3").number == 3
