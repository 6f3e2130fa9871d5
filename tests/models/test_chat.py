"""What is learned of a conversation under the chat templates of well-known models."""

from __future__ import annotations

import json

import pytest

from lftreg.errors import InvalidData
from lftreg.models.base import find_base
from lftreg.models.chat import Chat
from lftreg.models.load import load_tokenizer
from lftreg.objectives.causal import Causal
from lftreg.objectives.rows import IGNORED, Row
from lftreg.plugins.types import Example, Message, ToolCall
from tests.models.templates import KINDS, MISTRAL, QWEN3, R1, Kind

PAIR = Example.pair("Where is my parcel?", "On the van.")
TURNS = Example((*PAIR.messages, Message("user", "And when?"), Message("assistant", "At four.")))
BRIEFED = Example((Message("system", "Be brief."), *TURNS.messages))
CALL = ToolCall("track", '{"number": "XK 20"}', "call00001")
TOOLS = json.dumps([{"type": "function", "function": {"name": "track", "parameters": {}}}])
CALLED = Example(
    (
        Message("user", "Where is parcel XK 20?"),
        Message("assistant", "", (CALL,)),
        Message("tool", '{"van": "nine"}', name="track", call="call00001"),
        Message("assistant", "On van nine."),
    ),
    tools=TOOLS,
)


def chat_of(kind: Kind) -> Chat:
    """The starter's words with the marks of another model."""
    tokenizer = load_tokenizer(find_base("starter"))
    tokenizer.add_special_tokens(
        {"eos_token": kind.end} | ({"bos_token": kind.bos} if kind.bos is not None else {})
    )
    tokenizer.chat_template = kind.template
    return Chat(tokenizer)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def answers(chat: Chat, row: Row) -> list[str]:
    """Runs of learned ids as text, each up to its stop token."""
    text = chat.tokenizer.decode([label for label in row.labels if label != IGNORED])
    stop = chat.tokenizer.eos_token
    assert text.endswith(stop)
    return [part.removeprefix("<think>\n\n</think>\n\n").strip() for part in text.split(stop)[:-1]]


def test_every_answer_is_learned_once_with_its_stop_and_nothing_else_is(kind: Kind) -> None:
    chat = chat_of(kind)
    rows = Causal(chat).encode([TURNS], 512, "train").rows
    assert [answer for row in rows for answer in answers(chat, row)] == ["On the van.", "At four."]


def test_what_stands_before_an_answer_is_what_generation_is_given(kind: Kind) -> None:
    chat = chat_of(kind)
    for example in (PAIR, TURNS, BRIEFED) if kind.system else (PAIR, TURNS):
        ends = [n for n, message in enumerate(example.messages) if message.role == "assistant"]
        rows = Causal(chat).encode([example], 512, "train").rows
        prompts = [chat.prompt_ids(example.messages[:end]) for end in ends]
        for place, prompt in enumerate(prompts):
            row = rows[place] if len(rows) > 1 else rows[0]
            assert list(row.ids[: len(prompt)]) == prompt
            assert row.labels[len(prompt)] != IGNORED


def test_the_first_token_of_a_text_stands_there_once(kind: Kind) -> None:
    chat = chat_of(kind)
    for row in Causal(chat).encode([TURNS], 512, "train").rows:
        told = row.ids.count(chat.tokenizer.bos_token_id)
        assert told == ("bos_token" in kind.template)
        assert not told or row.ids[0] == chat.tokenizer.bos_token_id


def test_a_system_prompt_is_there_or_refused(kind: Kind) -> None:
    chat = chat_of(kind)
    if kind.system:
        for row in Causal(chat).encode([BRIEFED], 512, "train").rows:
            assert "Be brief." in chat.tokenizer.decode(row.ids)
        return
    with pytest.raises(InvalidData) as caught:
        Causal(chat).encode([PAIR, BRIEFED], 512, "train")
    assert caught.value.message.startswith("train row 2: the base's chat template")
    assert caught.value.code in ("template-refuses", "template-rewrites")
    assert "system prompt" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["Qwen 3", "Mistral's last question"])
def test_a_template_that_rewrites_has_each_answer_learned_by_itself(name: str) -> None:
    chat = chat_of(KINDS[name])
    assert chat.rewrites(BRIEFED.messages)
    rows = Causal(chat).encode([BRIEFED], 512, "train").rows
    assert [answers(chat, row) for row in rows] == [["On the van."], ["At four."]]
    assert not chat.rewrites(PAIR.messages)
    with pytest.raises(InvalidData) as caught:
        chat.segments(BRIEFED.messages)
    assert caught.value.code == "template-rewrites"


def test_thinking_is_learned_and_gone_from_what_came_before() -> None:
    chat = chat_of(KINDS["Qwen 3"])
    thought = Example(
        (
            Message("user", "Where is it?"),
            Message("assistant", "<think>\nthe van left\n</think>\n\nOn the van."),
            Message("user", "And when?"),
            Message("assistant", "<think>\nit is three\n</think>\n\nAt four."),
        )
    )
    first, second = Causal(chat).encode([thought], 512, "train").rows
    assert "the van left" in answers(chat, first)[0]
    assert "it is three" in answers(chat, second)[0]
    assert "the van left" not in chat.tokenizer.decode(second.ids)


def test_a_template_that_asks_in_another_way_than_it_answers_is_refused() -> None:
    chat = chat_of(Kind(R1, "</s>", "<s>"))
    with pytest.raises(InvalidData, match=r"train row 1: .* with its last answer in another way") as caught:
        Causal(chat).encode([PAIR], 512, "train")
    assert caught.value.code == "template-rewrites"


def test_turns_that_do_not_alternate_are_refused_where_the_template_wants_it() -> None:
    chat = chat_of(Kind(MISTRAL, "</s>", "<s>"))
    twice = Example((Message("user", "Hello?"), *PAIR.messages), origin="own.jsonl, row 7")
    with pytest.raises(InvalidData, match=r"own\.jsonl, row 7: .*roles must alternate") as caught:
        Causal(chat).encode([twice], 512, "train")
    assert caught.value.hint is not None
    assert "alternate" in caught.value.hint


@pytest.mark.parametrize("name", ["Qwen 2.5", "Qwen 3", "plain"])
def test_calls_are_learned_and_what_tools_give_back_is_not(name: str) -> None:
    if name == "plain":
        tokenizer = load_tokenizer(find_base("starter"))
        tokenizer.chat_template = None
        chat = Chat(tokenizer)
    else:
        chat = chat_of(KINDS[name])
    rows = Causal(chat).encode([CALLED], 512, "train").rows
    learned = [answer for row in rows for answer in answers(chat, row)]
    assert len(learned) == 2
    assert '"XK 20"' in learned[0]
    assert "track" in learned[0]
    assert learned[1] == "On van nine."
    whole = chat.tokenizer.decode(rows[-1].ids)
    assert '{"van": "nine"}' in whole
    assert whole.index("track") < whole.index("Where is parcel")  # the functions come first


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ChatML", "template-drops"),
        ("Zephyr", "template-drops"),
        ("Mistral", "template-refuses"),
        ("Gemma", "template-refuses"),
    ],
)
def test_a_template_that_knows_no_tools_is_refused_by_row(name: str, code: str) -> None:
    with pytest.raises(InvalidData, match="train row 2: the base's chat template") as caught:
        Causal(chat_of(KINDS[name])).encode([PAIR, CALLED], 512, "train")
    assert caught.value.code == code
    assert caught.value.hint is not None
    assert "knows tools" in caught.value.hint


def test_the_starter_refuses_tools() -> None:
    tokenizer = load_tokenizer(find_base("starter"))
    with pytest.raises(InvalidData, match="train row 1: the base's chat template") as caught:
        Causal(Chat(tokenizer)).encode([CALLED], 512, "train")
    assert caught.value.code.startswith("template-")


def test_functions_that_no_turn_uses_must_be_shown_too() -> None:
    told = Example(PAIR.messages, tools=TOOLS)
    Causal(chat_of(Kind(QWEN3, "<|im_end|>"))).encode([told], 512, "train")
    with pytest.raises(InvalidData, match="leaves out the function 'track'"):
        Causal(chat_of(KINDS["ChatML"])).encode([told], 512, "train")
