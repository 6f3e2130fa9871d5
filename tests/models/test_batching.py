"""Prompts that are continued together: the same text as alone, and less work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lftreg.models import batching
from lftreg.models.answers import prompt_rows
from lftreg.models.batching import ROWS, TOKENS, Decoding, batches, seed_of, until_stop
from lftreg.models.generate import Speaker
from lftreg.models.load import Loaded
from lftreg.plugins.host import Host
from lftreg.plugins.types import Message
from lftreg.registry import Registry
from tests.conftest import Tiny

pytestmark = pytest.mark.slow

STARTER = "base:starter"
DOMAINS = ("customer_support", "financial_advisor", "code_generation", "creative_writing")
UNEVEN = (
    "Hi",
    "Why? " * 90,
    "Where is my parcel, please?",
    "Tell me of money. " * 25,
    "No",
    "What is a fee?",
)


def prompts(domain: str, every: int) -> list[str]:
    return [example.prompt for example in Host(external=False).domain(domain).build("test", 0)][::every]


def plainly(
    loaded: Loaded, prompt: str, decoding: Decoding, seed: int = 0, *, model: Any = None
) -> list[int]:
    """What transformers itself makes of one prompt, without any of our code around it."""
    (row,) = prompt_rows(loaded, [[Message("user", prompt)]])
    encoder = loaded.model.config.is_encoder_decoder
    stops = {loaded.tokenizer.eos_token_id} if encoder else loaded.chat.stop_ids
    sampled = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    torch.manual_seed(seed)
    ids = torch.tensor([row], device=loaded.device)
    with torch.no_grad():
        told = (model or loaded.model).generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=decoding.max_tokens,
            do_sample=decoding.temperature > 0,
            eos_token_id=sorted(stops),
            pad_token_id=0,
            **sampled if decoding.temperature else {},
        )
    return until_stop(told[0, 1 if encoder else len(row) :].tolist(), stops)


def texts(loaded: Loaded, rows: Sequence[Sequence[int]]) -> list[str]:
    return [loaded.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]


@contextmanager
def steps(loaded: Loaded) -> Iterator[list[tuple[int, int]]]:
    """The shapes (rows, tokens) of what a model is given."""
    seen: list[tuple[int, int]] = []
    hook = loaded.model.register_forward_pre_hook(
        lambda module, args, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_starter_says_the_same_in_a_batch_as_transformers_says_alone(
    domain: str, registry: Registry
) -> None:
    speaker = Speaker([STARTER], registry)
    asked = prompts(domain, 12)
    decoding = Decoding(64)
    alone = [plainly(speaker.loaded, prompt, decoding) for prompt in asked]
    together = speaker.answer(STARTER, asked, decoding)
    assert [one.text for one in together] == texts(speaker.loaded, alone)
    assert [one.tokens for one in together] == [len(ids) for ids in alone]
    assert [one.prompt for one in together] == asked
    assert len({one.text for one in together}) > len(asked) / 3


def test_very_different_lengths_share_a_batch_and_keep_their_order(registry: Registry) -> None:
    speaker = Speaker([STARTER], registry)
    decoding = Decoding(32)
    told: list[tuple[int, int]] = []
    together = speaker.answer(
        STARTER, UNEVEN, decoding, on_done=lambda done, total: told.append((done, total))
    )
    alone = [plainly(speaker.loaded, prompt, decoding) for prompt in UNEVEN]
    assert [one.text for one in together] == texts(speaker.loaded, alone)
    assert [one.prompt for one in together] == list(UNEVEN)
    assert told == [(n, len(UNEVEN)) for n in range(1, len(UNEVEN) + 1)]


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma", "phi3", "gpt_neox", "falcon", "gpt2", "t5"])
@pytest.mark.parametrize(
    "decoding", [Decoding(24), Decoding(24, 0.8, 0.9, seed=3)], ids=["greedy", "sampled"]
)
def test_every_family_says_the_same_alone(
    kind: str, decoding: Decoding, tiny: Tiny, registry: Registry
) -> None:
    """Sampled too: transformers itself draws the same, from the seed of the decoding and a prompt's place."""
    speaker = Speaker([f"base:{tiny(kind)}"], registry)
    asked = ["Hello", "Where is it, and when does the boat leave the harbour?", "Why is the door blue?"] * 3
    together = speaker.answer(speaker.refs[0], asked, decoding)
    alone = [
        plainly(speaker.loaded, prompt, decoding, seed_of(decoding.seed, place))
        for place, prompt in enumerate(asked)
    ]
    assert [one.tokens for one in together] == [len(ids) for ids in alone]
    assert [one.text for one in together] == texts(speaker.loaded, alone)
    if decoding.temperature:
        assert len({one.text for one in together}) > 3


def test_rows_that_ended_leave_their_batch(registry: Registry) -> None:
    speaker = Speaker([STARTER], registry)
    asked = prompts("customer_support", 6)
    with steps(speaker.loaded) as seen:
        made = speaker.answer(STARTER, asked, Decoding(64))
    longest, whole = max(one.tokens for one in made), sum(one.tokens + 1 for one in made)
    assert len({rows for rows, _ in seen}) > 2
    done = sum(rows for rows, tokens in seen)
    assert done < 1.6 * whole < 0.8 * len(asked) * longest
    assert sum(tokens > 1 for _, tokens in seen) == 1  # nothing is read again: the cache goes on


def test_a_batch_goes_on_without_a_cache_that_cannot_forget(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cache of a base's own kind nobody knows how to take rows out: prompts are then read again."""
    speaker = Speaker([STARTER], registry)
    asked = prompts("customer_support", 12)
    decoding = Decoding(40)
    usual = speaker.answer(STARTER, asked, decoding)
    monkeypatch.setattr(batching, "_kept", lambda cache, rows: None)
    with steps(speaker.loaded) as seen:
        assert speaker.answer(STARTER, asked, decoding) == usual
    assert len({one.tokens for one in usual}) > 1
    assert sum(tokens > 1 for _, tokens in seen) > 1


def test_batches_hold_every_row_once_the_longest_first_and_no_more_than_fits() -> None:
    lengths = [5, 900, 17, 4000, 30_000, *range(1, 400)]
    made = list(batches(lengths, 64))
    assert sorted(place for places in made for place in places) == list(range(len(lengths)))
    order = [lengths[place] for places in made for place in places]
    assert order == sorted(lengths, reverse=True)
    for places in made:
        assert len(places) == 1 or len(places) * (max(lengths[place] for place in places) + 64) <= TOKENS
        assert len(places) <= ROWS
    assert made[0] == [4]  # what fits nowhere goes alone
    assert list(batches([], 64)) == []


def test_an_interrupted_batch_leaves_its_speaker_whole(tiny_llama: Path, registry: Registry) -> None:
    speaker = Speaker([f"base:{tiny_llama}"], registry)
    ref = speaker.refs[0]

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = speaker.answer(ref, UNEVEN[2:3], Decoding(8))
    with pytest.raises(KeyboardInterrupt):
        speaker.answer(ref, UNEVEN[2:3], Decoding(8), on_done=interrupt)
    assert speaker.answer(ref, UNEVEN[2:3], Decoding(8)) == before


def test_neighbouring_seeds_share_no_draw() -> None:
    drawn = {seed_of(seed, place) for seed in range(-3, 20) for place in range(40)}
    assert len(drawn) == 23 * 40 and all(0 <= one < 2**64 for one in drawn)
