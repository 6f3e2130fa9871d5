"""Keys, scopes and limits, as a client meets them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from tests.conftest import save_tiny
from tests.serving.served import LONG, Served, publish, serving, until
from tests.serving.test_hostile import CHAT, GOOD, refused


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("bases") / "desk-base", max_position_embeddings=LONG)


@pytest.fixture(scope="module")
def served(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Nothing local about it, but for where it listens."""
    with serving(tmp_path_factory.mktemp("home"), base, local=False) as served:
        for seed, name in enumerate(("support", "support_two", "finance")):
            publish(served.registry, base, name, seed)
        served.registry.keys.add("other")
        yield served
        served.settle()


def key(served: Served, name: str, *scopes: str, **more: object) -> dict[str, str]:
    token, _ = served.registry.keys.add(name, scopes or ("generate", "models"), **more)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {token}"}


def test_without_a_key_nothing_but_health_is_told(served: Served) -> None:
    for path in ("/v1/models", "/v1/models/support", "/metrics"):
        response = served.get(path)
        assert refused(response, 401)["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
    for value in ("Bearer nonsense", "Bearer", "Basic abc", "lft-x", "Bearer lft-\xff"):
        refused(served.get("/v1/models", headers={"Authorization": value.encode("latin-1")}), 401)
        refused(served.post(CHAT, GOOD, headers={"Authorization": value.encode("latin-1")}), 401)
    assert served.get("/health").status_code == served.get("/ready").status_code == 200
    with pytest.raises(openai.AuthenticationError):
        served.client("nonsense").models.list()


def test_a_key_is_asked_for_before_a_body_is_read(served: Served) -> None:
    refused(served.post(CHAT, b"{" * 100), 401)
    refused(served.post(CHAT, b"x" * (5 * 2**20)), 401)


def test_scopes_say_what_a_key_may(served: Served) -> None:
    metrics, website, admin = (
        key(served, "prometheus", "metrics"), key(served, "website"), key(served, "boss", "admin"),
    )  # fmt: skip
    assert served.get("/metrics", headers=metrics).status_code == 200
    assert refused(served.get("/v1/models", headers=metrics), 403)["code"] == "missing_scope"
    refused(served.post(CHAT, GOOD, headers=metrics), 403, "generate")
    refused(served.get("/metrics", headers=website), 403, "metrics")
    assert served.post(CHAT, GOOD, headers=website).status_code == 200
    for path in ("/v1/models", "/metrics"):
        assert served.get(path, headers=admin).status_code == 200
    served.registry.keys.remove("website")
    refused(served.post(CHAT, GOOD, headers=website), 401)


def test_a_key_for_some_adapters_hears_nothing_of_the_others(served: Served) -> None:
    few = key(served, "intern", adapters=["support*"])
    ids = [model["id"] for model in served.get("/v1/models", headers=few).json()["data"]]
    assert ids == ["support", "support@1", "support_two", "support_two@1"]
    for model in ("support", "support_two@1", "support:0.5+support_two"):
        assert served.post(CHAT, GOOD | {"model": model}, headers=few).status_code == 200
    for model in (
        "finance",
        "nowhere",
        "base:desk-base",
        "support+finance",
        "support+nowhere",
        "../support",
        "finance@9",
    ):
        assert (
            refused(served.post(CHAT, GOOD | {"model": model}, headers=few), 403)["code"]
            == "adapter_not_allowed"
        )
        assert "Did you mean" not in served.get(f"/v1/models/{model}", headers=few).text
    assert "Did you" not in served.post(CHAT, GOOD | {"model": "supportt"}, headers=few).text


@pytest.mark.parametrize("before", ["", "\ufeff", " ", "\t", "\0", "\u200b"])
def test_each_part_of_a_sum_is_held_against_the_key(served: Served, before: str) -> None:
    few = key(served, f"few{ord(before or '-')}", adapters=["*_two"])
    for model in (f"{before}finance+support_two", f"{before}finance:0.5+support_two:0.5"):
        response = served.post(CHAT, GOOD | {"model": model}, headers=few)
        assert refused(response, 403)["code"] == "adapter_not_allowed", model
    assert served.post(CHAT, GOOD | {"model": "support_two"}, headers=few).status_code == 200


def test_requests_a_minute_of_a_key(served: Served) -> None:
    slow, other = key(served, "slow", per_minute=3), key(served, "quick", per_minute=30)
    for _ in range(3):
        assert served.post(CHAT, GOOD, headers=slow).status_code == 200
    response = served.post(CHAT, GOOD, headers=slow)
    assert refused(response, 429, "3 requests a minute")["code"] == "rate_limit_exceeded"
    assert 1 <= int(response.headers["retry-after"]) <= 20
    assert served.post(CHAT, GOOD, headers=other).status_code == 200
    assert served.get("/v1/models", headers=slow).status_code == 200


def test_requests_at_once_of_a_key(served: Served) -> None:
    one = key(served, "single", concurrent=1)
    long = GOOD | {"max_tokens": 400, "ignore_eos": True}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: served.post(CHAT, long, headers=one).status_code)
        until(lambda: served.desk.ready().active == 1)
        response = served.post(CHAT, GOOD, headers=one)
        assert not first.done()
        refused(response, 429, "at once")
        assert response.headers["retry-after"] == "1"
        assert first.result() == 200
    assert served.post(CHAT, GOOD, headers=one).status_code == 200


def test_limits_of_an_adapter_count_all_who_ask_it(base: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", base, per_minute=2) as served:
        for seed, name in enumerate(("support", "finance")):
            publish(served.registry, base, name, seed)
        assert served.post(CHAT, GOOD).status_code == 200
        assert served.post(CHAT, GOOD | {"model": "support@1"}).status_code == 200
        refused(served.post(CHAT, GOOD), 429, "adapter 'support'")
        refused(served.post(CHAT, GOOD | {"model": "finance+support"}), 429, "adapter 'support'")
        assert served.post(CHAT, GOOD | {"model": "finance"}).status_code == 200
        assert served.post(CHAT, GOOD | {"model": "base:desk-base"}).status_code == 200
        served.registry.keys.add("first")  # from now on a key is asked for
        refused(served.get("/v1/models"), 401)


def test_a_page_may_ask_where_its_origin_is_named(base: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "home", base, origins=("https://desk.example",)) as served:
        answer = served.get("/v1/models", headers={"Origin": "https://desk.example"})
        assert answer.headers["access-control-allow-origin"] == "https://desk.example"
        asked = {"Origin": "https://desk.example", "Access-Control-Request-Method": "POST"}
        before = served.web.options(CHAT, headers=asked | {"Access-Control-Request-Headers": "authorization"})
        assert before.status_code == 200
        other = served.web.options(CHAT, headers=asked | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused(served.get("/v1/models", headers={"Origin": "https://evil.example"}), 403)


def test_the_playground_is_behind_the_same_door(served: Served, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("lftreg.serving.browse")
    assert served.get("/").headers["content-type"].startswith("text/html")  # the page itself says nothing
    refused(served.get("/api/adapters"), 401)
    refused(served.get("/api/adapters", headers=key(served, "browser", "metrics")), 403)
    few = key(served, "visitor", adapters=["support*"])
    assert {one["name"] for one in served.get("/api/adapters", headers=few).json()["adapters"]} == {
        "support",
        "support_two",
    }
    with serving(tmp_path / "home", base) as local:
        assert local.get("/api/adapters").status_code == local.get("/").status_code == 200
        for path in ("/", "/api/adapters"):
            refused(local.get(path, headers={"Host": "evil.example"}), 403)
        refused(local.post("/api/adapters", {}), 405)
