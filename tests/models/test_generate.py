from __future__ import annotations

from pathlib import Path

import pytest

from lftreg.errors import CheckFailed, Incompatible, InvalidData, UsageError
from lftreg.models.generate import Decoding, Speaker, generate
from lftreg.plugins.types import Message
from lftreg.registry import WEIGHTS, Registry
from tests.evaluation.parrots import BLUE, RED
from tests.serving.served import publish

pytestmark = pytest.mark.slow

PROMPTS = ["Where is it?", "What is an emergency fund, in a sentence or two, please?", "Hello"]


def test_each_adapter_says_its_own_and_switching_leaks_nothing(taught: Registry, tiny_llama: Path) -> None:
    base = f"base:{tiny_llama}"
    asked = ["Who is thing 3?", *PROMPTS]  # the first is worded as those they learned from
    alone = {ref: generate(ref, asked, registry=taught, max_tokens=12) for ref in (base, "red", "blue")}
    assert alone["red"][0].text == RED
    assert alone["blue"][0].text == BLUE
    speaker = Speaker([base, "red", "blue"], taught)
    for ref in ("red", base, "blue", "red", "blue", base):
        assert speaker.answer(ref, asked, Decoding(12)) == alone[ref], ref


def test_answers_do_not_depend_on_company(tiny_llama: Path, registry: Registry) -> None:
    speaker = Speaker([f"base:{tiny_llama}"], registry)
    ref = speaker.refs[0]
    together = speaker.answer(ref, PROMPTS, Decoding(10))
    assert together == [speaker.answer(ref, [prompt], Decoding(10))[0] for prompt in PROMPTS]


def test_sampling_follows_the_seed(tiny_llama: Path, registry: Registry) -> None:
    speaker = Speaker([f"base:{tiny_llama}"], registry)
    ref = speaker.refs[0]

    def sampled(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> list[str]:
        return [g.text for g in speaker.answer(ref, PROMPTS, Decoding(10, temperature, top_p, seed))]

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)
    greedy = [g.text for g in speaker.answer(ref, PROMPTS, Decoding(10))]
    assert sampled(1, top_p=1e-9) == greedy
    assert sampled(2, temperature=1e-4) == greedy


def test_a_reply_streams_the_text_it_returns(tiny_llama: Path, registry: Registry) -> None:
    speaker = Speaker([f"base:{tiny_llama}"], registry)
    heard: list[str] = []
    turns = [Message("user", "Hello"), Message("assistant", "Good day."), Message("user", "And you?")]
    reply = speaker.reply(speaker.refs[0], turns, Decoding(12), heard.append)
    assert "".join(heard).strip() == reply.text
    assert reply.tokens > 0


def test_max_tokens_is_kept(tiny_llama: Path, registry: Registry) -> None:
    (made,) = generate(f"base:{tiny_llama}", "Hello", registry=registry, max_tokens=3)
    assert 0 < made.tokens <= 3


def test_adapters_of_different_bases_do_not_share_a_model(
    taught: Registry, tiny_gpt2: Path, tiny_llama: Path
) -> None:
    with pytest.raises(Incompatible, match="different bases"):
        Speaker(["red", f"base:{tiny_gpt2}"], taught)


def test_what_does_not_fit_the_base_is_said(tiny_llama: Path, registry: Registry) -> None:
    with pytest.raises(InvalidData, match="do not fit the base's 256"):
        generate(f"base:{tiny_llama}", "Hello", registry=registry, max_tokens=300)


@pytest.mark.parametrize(
    "bad",
    [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}],
)
def test_impossible_decodings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Decoding(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("left", [-1, 90, 0])
def test_changed_weights_never_answer(tiny_llama: Path, registry: Registry, left: int) -> None:
    path = registry.file(publish(registry, tiny_llama, "support", 1), WEIGHTS)
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:left] + b"x" * (left < 0))
    with pytest.raises(CheckFailed, match="support@1 is not what was registered"):
        generate("support", PROMPTS, registry=registry, max_tokens=2)
