"""The engine over the starter: whatever a row shares a pass with, its answer is its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lftreg import Registry, Version
from lftreg.errors import CheckFailed, Incompatible, InvalidData, UsageError
from lftreg.models.base import find_base
from lftreg.models.generate import Decoding, Speaker
from lftreg.models.load import load_base
from lftreg.paths import Home
from lftreg.registry import WEIGHTS
from lftreg.serving.engine import Engine
from lftreg.serving.sampling import Sampling
from lftreg.serving.selftest import Reference, reference_of
from lftreg.serving.tickets import Ended, Failed
from lftreg.serving.voices import find_voice

from .adapters import ATTENTION, Heard, ask, prompt, put

QUESTION = "How do I send a parcel back to you?"
SYSTEM = "You are the help desk of a small shop for lamps and you answer every question in one short line. "


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Reference, list[Version]]]:
    """An engine of eight rows and twelve slots, with nine adapters of many ranks: more than it has slots for."""
    registry = Registry(Home(tmp_path_factory.mktemp("shop")))
    loaded = load_base(find_base("starter", registry))
    kinds = [(4, None), (8, ATTENTION), (16, None), (40, None), (8, ("down_proj",))]
    versions = [
        put(registry, loaded, f"a{n}", n, rank=kinds[n % 5][0], targets=kinds[n % 5][1]) for n in range(9)
    ]
    reference = reference_of(loaded, registry)
    engine = Engine(loaded, registry, rows=8, slots=12)
    yield engine, reference, versions
    assert engine.drain(30)
    engine.close()


Shop = tuple[Engine, Reference, list[Version]]


def test_rows_share_passes(shop: Shop) -> None:
    assert shop[0].batched


def test_answers_are_those_of_lftreg_generate(shop: Shop) -> None:
    """Greedy and drawn, of single adapters: word for word, by PEFT on a model of their own."""
    engine, _, versions = shop
    speaker = Speaker([version.ref for version in versions], engine.registry)
    ids = prompt(engine, QUESTION)
    asked = [(version, t, s) for version in versions for t, s in ((0.0, 0), (0.8, 3))]
    heard = [ask(engine, v.ref, ids, max_tokens=12, temperature=t, seed=s) for v, t, s in asked]
    for (version, temperature, seed), one in zip(asked, heard, strict=True):
        (alone,) = speaker.answer(version.ref, [QUESTION], Decoding(12, temperature, seed=seed))
        assert one.text.strip() == alone.text
        assert one.ended.tokens == alone.tokens
    assert len({one.text for one in heard}) > len(versions)


def test_a_sum_is_computed_as_it_stands(shop: Shop) -> None:
    """Logits of sums, one with a negative weight, beside a model that adds one adapter after another."""
    engine, reference, _ = shop
    ids = prompt(engine, QUESTION)
    for asked in ("a0:0.7+a2:0.3", "a1:0.5+a3:-0.4+a4:1.2", "a0:0.5+a0:0.5"):
        voice = find_voice(asked, engine.loaded.base, engine.registry)
        one = ask(engine, asked, ids, max_tokens=1, logprobs=5)
        assert one.ended.tokens == 1
        token = one.events[0].token  # type: ignore[union-attr]
        expected = reference.logits(voice, ids).log_softmax(-1)
        best = expected.topk(5)
        assert [id_ for id_, _ in token.likely] == best.indices.tolist()
        assert [p for _, p in token.likely] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert token.logprob == pytest.approx(float(expected[token.id]), abs=1e-4)


def test_one_adapter_twice_by_halves_is_that_adapter(shop: Shop) -> None:
    engine, _, versions = shop
    voice = find_voice("a0:0.5+a0@1:0.5", engine.loaded.base, engine.registry)
    assert voice.plain and voice.key == ((versions[0].digest, 1.0),)
    assert find_voice("a0:0", engine.loaded.base, engine.registry).versions == ()


def test_what_was_read_serves_the_same_adapter_and_no_other(shop: Shop) -> None:
    engine, reference, _ = shop
    ids = prompt(engine, SYSTEM + QUESTION)
    first = ask(engine, "a2", ids, max_tokens=6)
    assert first.ended.cached == 0
    again, other = ask(engine, "a2", ids, max_tokens=6), ask(engine, "a4", ids, max_tokens=6)
    assert again.ended.cached == len(ids) - 1
    assert again.ids == first.ids
    assert other.ended.cached == 0
    half = ask(engine, "a2:0.5", ids, max_tokens=6)
    assert half.ended.cached == 0, "another weight is another voice"
    for asked, one in (("a2", again), ("a4", other), ("a2:0.5", half)):
        voice = find_voice(asked, engine.loaded.base, engine.registry)
        assert one.ids == reference.answer(voice, ids, Sampling(6), engine.stops)


def test_a_place_is_free_at_once_after_a_cancel(shop: Shop) -> None:
    engine, _, _ = shop
    ids = prompt(engine, QUESTION)
    many = [ask(engine, f"a{n % 9}", ids, max_tokens=900, ignore_eos=True) for n in range(12)]
    assert many[0].begun.wait(60)
    assert engine.active > 0
    for one in many:
        one.ticket.cancel()
    assert {one.ended.reason for one in many} == {"cancelled"}
    assert engine.active == engine.waiting == 0


def test_stop_texts_end_an_answer_and_do_not_belong_to_it(shop: Shop) -> None:
    engine, _, _ = shop
    ids = prompt(engine, QUESTION)
    whole = ask(engine, "a0", ids, max_tokens=24, ignore_eos=True).text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 5]
    one = ask(engine, "a0", ids, max_tokens=24, ignore_eos=True, stop=(stop, "never said"))
    assert one.text == whole[: whole.index(stop)]
    assert one.ended.reason == "stop"


def test_an_adapter_whose_file_has_changed_is_refused_and_leaves_no_slot(shop: Shop) -> None:
    engine, _, _ = shop
    version = put(engine.registry, engine.loaded, "damaged", 77)
    file = engine.registry.file(version, WEIGHTS)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    ids = prompt(engine, QUESTION)
    for _ in range(20):  # more often than there are slots
        assert isinstance(ask(engine, "damaged", ids, max_tokens=4).failed.error, CheckFailed)
    assert version.digest not in engine.shelf.there
    assert ask(engine, "a1", ids, max_tokens=4).ended.tokens


def test_what_cannot_be_answered_is_told_before_it_is_queued(shop: Shop) -> None:
    engine, _, _ = shop
    ids = prompt(engine, QUESTION)
    with pytest.raises(InvalidData, match="do not fit"):
        ask(engine, "a0", ids, max_tokens=5000)
    with pytest.raises(InvalidData, match="empty"):
        ask(engine, "a0", [])
    put(engine.registry, engine.loaded, "wide", 99, rank=200, targets=("q_proj",))
    with pytest.raises(UsageError, match="needs 13 slots of rank 16; there are 12"):
        ask(engine, "wide", ids)


def test_dora_speaks_through_peft_beside_the_others(shop: Shop, tmp_path: Path) -> None:
    """It changes nothing for them, and it cannot be part of a sum."""
    import torch
    from peft import LoraConfig, get_peft_model

    from lftreg.registry import Draft

    engine, _, _ = shop
    torch.manual_seed(3)
    fresh = load_base(engine.loaded.base)
    model = get_peft_model(fresh.model, LoraConfig(r=4, target_modules=["q_proj", "up_proj"], use_dora=True))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        if "magnitude" in name:
            parameter.data *= 1.2
    model.save_pretrained(tmp_path)
    config = model.peft_config["default"].to_dict()
    kept = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    kept = {k: getattr(v, "value", v) for k, v in kept.items() if v is not None}
    version = engine.registry.publish(
        Draft("dora", "imported", engine.loaded.base.record, tmp_path / WEIGHTS, kept)
    )
    ids = prompt(engine, QUESTION)
    before = ask(engine, "a0", ids, max_tokens=8).ids
    (alone,) = Speaker(["dora"], engine.registry).answer("dora", [QUESTION], Decoding(8))
    heard = [ask(engine, name, ids, max_tokens=8) for name in ("dora", "a0", "dora")]
    assert heard[0].text.strip() == heard[2].text.strip() == alone.text
    assert heard[1].ids == before
    assert version.digest in engine.shelf.there
    with pytest.raises(Incompatible, match="part of a sum"):
        ask(engine, "dora:0.5+a0:0.5", ids)


def test_a_step_that_fails_costs_its_rows_and_nothing_else(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, _ = shop
    ids = prompt(engine, QUESTION)
    before = ask(engine, "a0", ids, max_tokens=8).ids
    broken = threading.Event()
    step = engine.together.step

    def fail(*given):  # type: ignore[no-untyped-def]
        if not broken.is_set():
            broken.set()
            raise RuntimeError("a kernel has failed")
        return step(*given)

    monkeypatch.setattr(engine.together, "step", fail)
    assert "RuntimeError" in ask(engine, "a0", ids, max_tokens=8).failed.error.message
    assert ask(engine, "a0", ids, max_tokens=8).ids == before
    assert engine.active == 0


def test_a_long_prompt_is_read_however_many_come_after_it(shop: Shop) -> None:
    """Those who came later take the places before it, and must not take its turn."""
    engine, _, _ = shop
    words = len(engine.loaded.tokenizer)
    busy = [ask(engine, "a0", prompt(engine, QUESTION), max_tokens=2, ignore_eos=True) for _ in range(2)]
    long = ask(engine, "a1", [(n * 37) % words for n in range(900)], max_tokens=1, ignore_eos=True)
    later = [
        ask(engine, "a1", [(n * 41 + 7 * k) % words for n in range(256)], max_tokens=1, ignore_eos=True)
        for k in range(1, 25)
    ]
    assert all(one.ended.tokens == 1 for one in (long, *later))
    order = sorted((long, *later), key=lambda one: one.at)
    assert order.index(long) <= 6, "more have passed it than there are pieces of it"
    assert all(one.ended for one in busy)


def test_a_move_that_fails_costs_one_row(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows move to the first places as others leave; the memory for that may run out."""
    engine, _, _ = shop
    ids = prompt(engine, QUESTION)
    before = ask(engine, "a0", ids, max_tokens=8).ids
    broken = threading.Event()
    swap = engine.together.kv.swap

    def fail(*given):  # type: ignore[no-untyped-def]
        if not broken.is_set():
            broken.set()
            raise RuntimeError("out of memory")
        swap(*given)

    monkeypatch.setattr(engine.together.kv, "swap", fail)
    many = [ask(engine, "a0", ids, max_tokens=4 + 6 * n, ignore_eos=True) for n in range(6)]
    failed = [one for one in many if isinstance(one.end, Failed)]
    assert broken.is_set()
    assert len(failed) == 1
    assert engine.alive
    assert ask(engine, "a0", ids, max_tokens=8).ids == before


def test_numbers_that_are_none_do_not_stay_behind_one_who_left(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt that overflows and is called off before it is read to its end."""
    engine, _, _ = shop
    words = len(engine.loaded.tokenizer)
    read = engine.together.read
    spoilt: list[Heard] = []
    asked = threading.Event()

    def overflow(place, parts, ids, start):  # type: ignore[no-untyped-def]
        logits = read(place, parts, ids, start)
        assert asked.wait(60)
        if spoilt and len(ids) == 256:
            for held in engine.together.kv._values.values():
                held[place].fill_(float("nan"))
            spoilt[0].ticket.cancel()
        return logits

    monkeypatch.setattr(engine.together, "read", overflow)
    spoilt.append(ask(engine, "a2", [(n * 29) % words for n in range(600)], max_tokens=1))
    asked.set()
    assert spoilt[0].ended.reason == "cancelled"
    spoilt.clear()
    long = [
        (n * 43) % words for n in range(200)
    ]  # beside which the others are shown what lies behind their end
    prompts = [long, *[prompt(engine, QUESTION)] * 7]  # one of them is given its place
    many = [ask(engine, "a0", ids, max_tokens=12, ignore_eos=True) for ids in prompts]
    assert all(isinstance(one.end, Ended) for one in many)


def test_a_prompt_that_overflows_spoils_none_that_is_read_beside_it(shop: Shop) -> None:
    """Short prompts are read in one pass, where a masked NaN is a NaN all the same."""
    engine, _, _ = shop
    put(engine.registry, engine.loaded, "huge", 5, scale=1e30)
    ids = prompt(engine, QUESTION)
    before = ask(engine, "a0", ids, max_tokens=8, temperature=0.8, seed=4).ids
    assert ask(engine, "huge", ids, max_tokens=8).failed.error.code == "overflow"
    other = prompt(engine, "What does a new bulb for the lamp cost?")  # nothing of it has been read
    alone = ask(engine, "a1", other, max_tokens=8).ids
    fresh = prompt(engine, "Where do I find the switch?")
    with engine._changed:  # nobody is given a place before all have come
        many = [ask(engine, name, fresh, max_tokens=8) for name in ("a0", "huge", "a2", "a0:0.5")]
    assert [isinstance(one.end, Failed) for one in many] == [False, True, False, False]
    assert ask(engine, "a1", other, max_tokens=8).ids == alone
    assert ask(engine, "a0", ids, max_tokens=8, temperature=0.8, seed=4).ids == before


def test_whoever_waits_for_a_drain_is_told_of_a_fault(
    registry: Registry, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(find_base(str(tiny_llama), registry))
    engine = Engine(loaded, registry, rows=2, slots=2)
    go = threading.Event()

    def fail() -> None:
        go.wait(60)
        raise RuntimeError("a fault of the engine itself")

    monkeypatch.setattr(engine, "_step_single", fail)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    one = ask(engine, f"base:{loaded.base.record.id}", [5, 6, 7], max_tokens=50, ignore_eos=True)
    drained: list[bool] = []
    waiting = threading.Thread(target=lambda: drained.append(engine.drain()), daemon=True)
    waiting.start()
    go.set()
    assert one.failed
    waiting.join(30)
    assert drained == [True]
    assert not engine.alive
    engine.close()


def test_the_base_does_not_wait_for_room_that_it_does_not_need(registry: Registry, tiny_llama: Path) -> None:
    loaded = load_base(find_base(str(tiny_llama), registry))
    for seed in range(2):
        put(registry, loaded, f"a{seed}", seed)
    engine = Engine(loaded, registry, rows=3, slots=1)
    try:
        first = ask(engine, "a0", [5, 6, 7], max_tokens=250, ignore_eos=True)
        assert first.begun.wait(60)
        second = ask(engine, "a1", [5, 6, 7], max_tokens=2)
        bare = ask(engine, f"base:{loaded.base.record.id}", [5, 6, 7], max_tokens=2, ignore_eos=True)
        assert bare.ended.tokens == 2
        first.ticket.cancel()
        assert first.ended.reason == "cancelled", "the base has waited for the room of an adapter"
        assert isinstance(second.end, Ended)
    finally:
        engine.close()


def test_a_gpu_that_is_lost_ends_the_engine(
    registry: Registry, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pass would ever work again, and whoever asks for its health has to hear of it."""
    import torch

    loaded = load_base(find_base(str(tiny_llama), registry))
    engine = Engine(loaded, registry, rows=2, slots=2)

    def fail(*given):  # type: ignore[no-untyped-def]
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)

    monkeypatch.setattr(engine.together, "_pass", fail)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    assert ask(engine, f"base:{loaded.base.record.id}", [5, 6, 7]).failed
    engine._thread.join(30)
    assert not engine.alive
    engine.close()
