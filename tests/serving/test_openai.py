"""OpenAI's own client, as it is, against a server in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from lftreg.models.batching import Decoding
from lftreg.models.generate import Speaker
from tests.conftest import save_tiny
from tests.serving.served import Served, publish, serving

HI = [{"role": "user", "content": "Where is my parcel?"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = save_tiny("llama", tmp_path_factory.mktemp("base") / "desk-base")
    with serving(tmp_path_factory.mktemp("home"), base) as served:
        for seed, name in enumerate(("support", "finance", "legal")):
            publish(served.registry, base, name, seed)
        publish(served.registry, base, "support", 7)
        served.registry.alias("support@1", "prod")
        yield served
        served.settle()


def said(served: Served, ref: str, prompt: str, **how: float) -> str:
    """What `lftreg generate` says."""
    given = {"max_tokens": 12, "temperature": 0.0, "top_p": 1.0, "seed": 0} | how
    speaker = Speaker([ref], served.registry)
    return speaker.answer(ref, [prompt], Decoding(**given))[0].text  # type: ignore[arg-type]


def test_every_model_is_listed_whether_it_is_loaded_or_not(served: Served) -> None:
    client = served.client()
    models = {model.id: model.model_dump() for model in client.models.list()}
    assert list(models) == [
        "base:desk-base", "finance", "finance@1", "legal", "legal@1", "support", "support@2", "support@prod",
        "support@1",
    ]  # fmt: skip
    assert models["support"]["ref"] == "support@2"
    assert models["support@prod"]["ref"] == "support@1"
    assert models["legal"]["loaded"] is False
    assert models["legal"]["domain"] == "legal"
    assert {model["owned_by"] for model in models.values()} == {"lftreg"}
    digest = served.registry.get("support@1").digest
    assert client.models.retrieve("support@prod").model_dump()["digest"] == f"sha256:{digest}"
    for id_ in models:
        assert client.models.retrieve(id_).model_dump() | {"loaded": None} == models[id_] | {"loaded": None}


@pytest.mark.parametrize("model", ["support@prod", "support", "finance"])
def test_a_conversation_is_answered_as_generate_does(served: Served, model: str) -> None:
    done = served.client().chat.completions.create(model=model, messages=HI, max_tokens=12, temperature=0)  # type: ignore[arg-type]
    assert (done.choices[0].message.content or "").strip() == said(served, model, HI[0]["content"])
    assert done.model == served.registry.get(model).ref
    assert done.choices[0].finish_reason in ("length", "stop")
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert served.registry.get(model).digest[:12] in (done.system_fingerprint or "")


def test_a_stream_says_the_same_in_pieces(served: Served) -> None:
    client = served.client()
    asked = {"model": "support", "messages": HI, "max_completion_tokens": 12, "temperature": 0, "n": 2}
    whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})  # type: ignore[call-overload]
    )
    texts, reasons = ["", ""], ["", ""]
    for chunk in chunks[:-1]:
        assert chunk.usage is None
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 24
    plain = list(client.chat.completions.create(**asked, stream=True))  # type: ignore[call-overload]
    assert all(chunk.choices and chunk.usage is None for chunk in plain)


def test_a_sum_is_what_its_weights_say(served: Served) -> None:
    def answer(model: str) -> str:
        done = served.client().chat.completions.create(model=model, messages=HI, max_tokens=12, temperature=0)  # type: ignore[arg-type]
        return done.choices[0].message.content or ""

    assert answer("support:1+finance:0") == answer("support")
    assert answer("support:0+finance:1") == answer("finance")
    assert answer("support:0.5 + finance:0.5") == answer("finance:0.5+support:0.5")
    assert answer("support:0") == answer("base:desk-base")


def test_a_seed_decides_every_draw_and_choices_differ(served: Served) -> None:
    def answers(**more: object) -> list[str]:
        asked = {"model": "legal", "messages": HI, "max_tokens": 12, "temperature": 1.0, "n": 3} | more
        done = served.client().chat.completions.create(**asked)  # type: ignore[call-overload]
        return [choice.message.content for choice in done.choices]

    assert answers(seed=5) == answers(seed=5)
    assert len(set(answers(seed=5))) == 3
    assert set(answers(seed=6)).isdisjoint(answers(seed=5))
    assert answers() != answers()
    assert answers(seed=5)[0].strip() == said(served, "legal", HI[0]["content"], temperature=1.0, seed=5)


def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(served: Served) -> None:
    asked = {"model": "support", "messages": HI, "max_tokens": 12, "temperature": 0}
    whole = served.client().chat.completions.create(**asked)  # type: ignore[call-overload]
    text = whole.choices[0].message.content
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    for stops in (stop, ["nowhere", stop]):
        done = served.client().chat.completions.create(**asked, stop=stops)  # type: ignore[call-overload]
        assert done.choices[0].message.content == text[: text.index(stop)]
        assert done.choices[0].finish_reason == "stop"


def test_logprobs_of_a_conversation(served: Served) -> None:
    asked = {"model": "support", "messages": HI, "max_tokens": 8, "temperature": 0}
    asked |= {"logprobs": True, "top_logprobs": 3}
    done = served.client().chat.completions.create(**asked)  # type: ignore[call-overload]
    content = done.choices[0].logprobs.content
    for one in content:
        assert len(one.top_logprobs) == 3
        assert one.top_logprobs[0].logprob == one.logprob <= 0
    spelled = b"".join(bytes(one.bytes) for one in content)
    assert spelled.decode(errors="replace") == done.choices[0].message.content
    streamed = []
    for chunk in served.client().chat.completions.create(**asked, stream=True):  # type: ignore[call-overload]
        if chunk.choices[0].logprobs is not None:
            streamed += chunk.choices[0].logprobs.content
    assert streamed == content
    bare = served.client().chat.completions.create(**asked | {"logprobs": False, "top_logprobs": None})  # type: ignore[call-overload]
    assert bare.choices[0].logprobs is None


def test_completions_of_texts_and_of_ids(served: Served) -> None:
    client = served.client()
    texts = ["Once upon", "The bank"]
    ids = [served.desk.ready().loaded.tokenizer(text)["input_ids"] for text in texts]
    how = {"model": "finance", "max_tokens": 6, "temperature": 0}
    both = client.completions.create(prompt=texts, **how)  # type: ignore[call-overload]
    assert [choice.index for choice in both.choices] == [0, 1]
    for prompt in (ids, [ids[0], texts[1]]):
        again = client.completions.create(prompt=prompt, **how)  # type: ignore[call-overload]
        assert [choice.text for choice in again.choices] == [choice.text for choice in both.choices]
    for prompt in (texts[0], ids[0]):
        one = client.completions.create(prompt=prompt, logprobs=2, **how)  # type: ignore[call-overload]
        assert one.choices[0].text == both.choices[0].text
        told = one.choices[0].logprobs
        assert "".join(told.tokens) == one.choices[0].text
        assert [len(top) for top in told.top_logprobs] == [2] * len(told.tokens)
        assert told.text_offset[1] == len(told.tokens[0])
        parts = list(client.completions.create(prompt=prompt, logprobs=2, stream=True, **how))  # type: ignore[call-overload]
        assert "".join(part.choices[0].text for part in parts) == one.choices[0].text
        offsets = [
            at for part in parts if part.choices[0].logprobs for at in part.choices[0].logprobs.text_offset
        ]
        assert offsets == told.text_offset
    assert len(client.completions.create(model="finance", prompt="Once").choices[0].text) > 0


def test_content_may_come_in_parts_and_roles_by_their_newer_names(served: Served) -> None:
    def ids_read(messages: list[dict[str, object]]) -> int:
        done = served.client().chat.completions.create(model="support", messages=messages, max_tokens=1)  # type: ignore[arg-type]
        assert done.usage is not None
        return done.usage.prompt_tokens

    parts = [{"type": "text", "text": "Where is "}, {"type": "text", "text": "my parcel?"}]
    assert ids_read([{"role": "user", "content": parts}]) == ids_read(HI)  # type: ignore[arg-type]
    system = {"role": "system", "content": "Be short."}
    assert ids_read([system, *HI]) == ids_read([system | {"role": "developer"}, *HI]) > ids_read(HI)  # type: ignore[list-item, arg-type]


def test_an_answer_may_come_back_as_a_turn_as_it_is(served: Served) -> None:
    client = served.client()
    first = client.chat.completions.create(model="support", messages=HI, max_tokens=4)  # type: ignore[arg-type]
    turn = first.choices[0].message.model_dump()
    more = [*HI, turn, {"role": "user", "content": "And now?"}]
    again = client.chat.completions.create(model="support", messages=more, max_tokens=4)  # type: ignore[arg-type]
    assert again.choices[0].message.role == "assistant"


def test_what_changes_nothing_is_taken(served: Served) -> None:
    done = served.client().chat.completions.create(
        model="support", messages=HI, max_tokens=2, user="me", metadata={"a": "b"}, store=True,  # type: ignore[arg-type]
        frequency_penalty=0, presence_penalty=0.0, logit_bias={}, response_format={"type": "text"}, tools=[],
        parallel_tool_calls=True, tool_choice="none",
    )  # fmt: skip
    assert done.choices[0].message.tool_calls is None


def test_the_simplest_client(served: Served) -> None:
    asked = {"prompt": HI[0]["content"], "max_length": 12, "temperature": 0, "adapter": "support@prod"}
    answer = served.post("/generate", asked).json()
    assert answer["response"] == said(served, "support@1", HI[0]["content"])
    assert answer["adapter"] == "support@1"
    bare = served.post("/generate", {"prompt": "Hi", "max_length": 3})
    assert bare.json()["adapter"] == "base:desk-base"
    assert bare.json()["tokens"] == 3


def test_the_client_raises_what_it_raises_elsewhere(served: Served) -> None:
    client = served.client()
    with pytest.raises(openai.NotFoundError, match="Did you mean 'support'") as unknown:
        client.chat.completions.create(model="suport", messages=HI)  # type: ignore[arg-type]
    assert unknown.value.code == "model_not_found"
    assert unknown.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="do not fit") as long:
        client.completions.create(model="support", prompt="word " * 400, max_tokens=5)
    assert long.value.code == "context_length_exceeded"


def test_metrics_count_by_adapter(served: Served) -> None:
    served.post(
        "/v1/completions", {"model": "legal@1", "prompt": "Once", "max_tokens": 3, "ignore_eos": True}
    )
    served.post("/v1/completions", {"model": "legal+finance", "prompt": "Once", "max_tokens": 3})
    page = served.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(lines['lftreg_requests_total{adapter="legal@1",status="200"}']) >= 1
    assert float(lines['lftreg_requests_total{adapter="sum",status="200"}']) >= 1
    assert float(lines['lftreg_generated_tokens_total{adapter="legal@1"}']) >= 3
    assert float(lines['lftreg_prompt_tokens_total{adapter="legal@1"}']) >= 1
    assert float(lines['lftreg_time_to_first_token_seconds_count{adapter="legal@1"}']) >= 1
    assert float(lines['lftreg_time_between_tokens_seconds_count{adapter="legal@1"}']) >= 2
    assert float(lines["lftreg_loaded_adapters"]) >= 2
    assert float(lines["lftreg_adapter_loads_total"]) >= 2
    assert float(lines["lftreg_queue_depth"]) == float(lines["lftreg_active_rows"]) == 0
    assert served.get("/health").json() == {"status": "ok"}
    assert served.get("/ready").json() == {"status": "ready"}
    assert json.loads(served.get("/v1/models").text)["object"] == "list"
