from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.evaluation.arms import ARMS, OPENING, Material, ask, make_material, with_passages, with_shots
from lftreg.evaluation.retrieval import cut, find_gold
from lftreg.evaluation.suite import Item, make_suite
from lftreg.models.generate import Speaker
from lftreg.plugins.types import Example, Message

TRAIN = [
    Example.pair("How do I return a pan?", "Use the paid label."),
    Example.pair("How do I return a pan?", "Use the paid label."),
    Example.pair("When does the shop open?", "At nine."),
    Example.pair("How do I clean a kettle?", "With vinegar."),
    Example.pair("Is there a call?", ""),
]
DOCUMENTS = [
    "To return a pan peel off the paid label and use it within forty days.",
    "The shop opens at nine on every weekday.",
    "A kettle is cleaned with vinegar and rinsed.",
    "You return to a pan that was left on a stove.",
]
QUESTION = Example.pair("How long may I take to return a pan?", "Use it within forty days.")


def words(turns: Sequence[Message]) -> int:
    return sum(len(turn.content.split()) for turn in turns)


def item_of(example: Example) -> Item:
    return make_suite("test", [example]).items[0]


def material(item: Item, **given: Any) -> Material:
    passages = [passage for n, text in enumerate(DOCUMENTS) for passage in cut(text, f"{n}.txt")]
    (gold,) = find_gold(passages, [item.reference])
    settings: dict[str, Any] = {"count": words, "room": None, "shots": 2, "top_k": 2} | given
    return make_material(TRAIN, passages, {item: gold}, **settings)


def said(turns: Sequence[Message]) -> str:
    return "\n".join(turn.content for turn in turns)


def test_base_and_adapter_are_asked_the_bare_question() -> None:
    item = item_of(QUESTION)
    for arm in ("base", "adapter"):
        assert ask(arm, item, material(item)).turns == (Message("user", QUESTION.prompt),)  # type: ignore[arg-type]


def test_few_shot_shows_the_nearest_rows_of_train_the_nearest_last() -> None:
    item = item_of(QUESTION)
    asked = ask("few_shot", item, material(item))
    assert [turn.role for turn in asked.turns] == ["user", "assistant"] * 2 + ["user"]
    assert asked.turns[2:4] == TRAIN[0].messages, "each row once, and the nearest next to the question"
    assert asked.turns[0:2] == TRAIN[3].messages
    assert asked.turns[-1].content == QUESTION.prompt


def test_rag_holds_what_the_search_finds_with_or_without_the_adapter() -> None:
    item = item_of(QUESTION)
    drawn = material(item)
    asked = ask("rag", item, drawn)
    assert asked == ask("adapter_rag", item, drawn)
    found = drawn.index.search(QUESTION.prompt, 2)
    assert asked.passages == tuple(found) and len(found) == 2
    (turn,) = asked.turns
    assert turn.content == (
        f"{OPENING}\n\n[1] {DOCUMENTS[found[0]]}\n\n[2] {DOCUMENTS[found[1]]}\n\nQuestion: {QUESTION.prompt}"
    )


def test_the_oracle_holds_the_answer_and_nothing_else() -> None:
    item = item_of(QUESTION)
    asked = ask("oracle", item, material(item))
    assert asked.passages == (0,)
    assert "within forty days" in said(asked.turns)
    assert not any(text in said(asked.turns) for text in DOCUMENTS[1:])


def test_no_arm_is_told_the_reference() -> None:
    """Neither documents nor rows of train hold it, so it can only come from the item."""
    item = item_of(
        Example.pair("How do I return a pan or a kettle?", "Zanzibar forty days paid label use it")
    )
    drawn = material(item)
    assert drawn.gold[item] == (0,)
    for arm in ARMS:
        assert "Zanzibar" not in said(ask(arm, item, drawn).turns)


def test_what_does_not_fit_goes_the_farthest_first() -> None:
    item = item_of(QUESTION)
    whole = {arm: ask(arm, item, material(item)) for arm in ARMS}
    for arm in ("few_shot", "rag"):
        tight = ask(arm, item, material(item, room=whole[arm].tokens - 1))  # type: ignore[index, arg-type]
        none = ask(arm, item, material(item, room=whole["base"].tokens))  # type: ignore[arg-type]
        assert tight.given_up == 1 and none.given_up == 2 and whole[arm].given_up == 0  # type: ignore[index]
        assert tight.tokens < whole[arm].tokens  # type: ignore[index]
        assert none.turns == item.asked
        assert (*tight.shots, *tight.passages) == ((whole[arm].shots[-1:]) or whole[arm].passages[:1])  # type: ignore[index]


def test_a_search_without_a_hit_leaves_the_question_bare() -> None:
    item = item_of(Example.pair("Zebras?", "None."))
    for arm in ("rag", "few_shot", "oracle"):
        asked = ask(arm, item, material(item))  # type: ignore[arg-type]
        assert asked.turns == item.asked and asked.given_up == 0


def test_a_system_prompt_stays_first_and_a_conversation_whole() -> None:
    turns = (
        Message("system", "Be brief."),
        Message("user", "Hello"),
        Message("assistant", "Good day."),
        Message("user", "And now?"),
    )
    shown = with_shots(turns, [TRAIN[0]])
    assert [turn.content for turn in shown[:3]] == [
        "Be brief.",
        "How do I return a pan?",
        "Use the paid label.",
    ]
    assert shown[3:] == turns[1:]
    found = with_passages(turns, cut("Nine o'clock.", "x.txt"))
    assert found[:3] == turns[:3]
    assert "[1] Nine o'clock." in found[3].content and found[3].content.endswith("And now?")
    assert with_passages(turns, []) == turns


def test_prompts_stay_within_the_room_of_a_real_base(tiny_llama: Any, registry: Any) -> None:
    """256 positions: six passages of 40 words would not fit, and what is left can be answered."""
    speaker = Speaker([f"base:{tiny_llama}"], registry)
    room = (speaker.positions or 0) - 16
    assert room == 240
    documents = [" ".join(["pan", *(f"word{n} stove{m}" for m in range(20))]) for n in range(6)]
    passages = [passage for n, text in enumerate(documents) for passage in cut(text, f"{n}.txt")]
    item = item_of(Example.pair("Which pan?", "stove1 stove2"))
    drawn = make_material([], passages, {item: (0,)}, count=speaker.tokens, room=room, shots=1, top_k=6)
    asked = ask("rag", item, drawn)
    assert asked.given_up > 0 and asked.tokens <= room
    from lftreg.models.answers import Decoding

    (answer,) = speaker.answer_turns(speaker.refs[0], [asked.turns], Decoding(16))
    assert answer is not None and answer.tokens <= 16
    whole = with_passages(item.asked, passages)
    assert speaker.answer_turns(speaker.refs[0], [whole], Decoding(16)) == [None]
