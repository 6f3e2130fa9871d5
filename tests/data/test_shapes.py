from __future__ import annotations

import json
from typing import Any

import pytest

from lftreg.data.shapes import find_shape
from lftreg.errors import UsageError
from lftreg.plugins.types import Example, Message

TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
SHARED = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
PAIR = Example.pair("Q", "A")
BRIEF = Message("system", "Be brief.")

SHAPES: dict[str, tuple[dict[str, Any], Example]] = {
    "prompt/response": ({"prompt": "Q", "response": "A"}, PAIR),
    "prompt/completion": ({"prompt": "Q", "completion": "A"}, PAIR),
    "capitals": ({"Prompt": "Q", "RESPONSE": "A"}, PAIR),
    "question/answer": ({"id": 3, "question": "Q", "answer": "A"}, PAIR),
    "instruction/output": ({"instruction": "Q", "input": "", "output": "A"}, PAIR),
    "instruction/input/output": (
        {"instruction": "Q", "input": "this", "output": "A", "text": "### Q: this"},
        Example.pair("Q\n\nthis", "A"),
    ),
    "input/output": ({"input": "Q", "output": "A"}, PAIR),
    "system": (
        {"system": "Be brief.", "prompt": "Q", "response": "A"},
        Example((BRIEF, *PAIR.messages)),
    ),
    "an empty system": ({"system": "", "prompt": "Q", "response": "A"}, PAIR),
    "messages": ({"messages": TURNS}, PAIR),
    "messages with a system column": (
        {"messages": TURNS, "system": "Be brief."},
        Example((BRIEF, *PAIR.messages)),
    ),
    "messages in a table": ({"messages": json.dumps(TURNS)}, PAIR),
    "ShareGPT": ({"conversations": SHARED}, PAIR),
    "text/label": ({"text": "T", "label": "L"}, Example.passage("T", "L")),
    "a number as label": ({"sentence": "T", "label": 1}, Example.passage("T", "1")),
    "text": ({"text": "T"}, Example.passage("T")),
}


@pytest.mark.parametrize(("row", "example"), SHAPES.values(), ids=SHAPES)
def test_the_usual_shapes_are_recognised(row: dict[str, Any], example: Example) -> None:
    assert find_shape(row, {}).example(row) == example


def test_columns_may_be_told_by_hand() -> None:
    row = {"Subject": "Q", "Body": "more", "Reply": "A", "prompt": "not this"}
    told = {"prompt": "Subject", "response": "Reply", "context": "Body"}
    shape = find_shape(row, told)
    assert shape.columns == told
    assert shape.example(row) == Example.pair("Q\n\nmore", "A")


def test_what_is_told_decides_the_shape() -> None:
    row = {"prompt": "Q", "response": "A", "text": "T", "kind": "L"}
    assert find_shape(row, {"label": "kind"}).example(row) == Example.passage("T", "L")
    assert find_shape(row, {"response": "text"}).example(row) == Example.pair("Q", "T")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"promt": "a"}, "unknown role 'promt'. Did you mean 'prompt'?"),
        ({"prompt": "questoin"}, "no column 'questoin'. Did you mean 'question'?"),
    ],
)
def test_what_is_told_wrongly_gets_a_suggestion(told: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_shape({"question": "Q", "answer": "A"}, told)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("row", "told", "message"),
    [
        ({"a": 1, "b": 2}, {}, "columns 'a', 'b'; wanted prompt and response"),
        ({"label": "x"}, {}, "columns 'label'; wanted"),
        ({"prompt": "Q", "c": "A"}, {"prompt": "prompt"}, "no column for response; columns 'prompt', 'c'"),
        ({}, {}, "columns none; wanted"),
    ],
)
def test_columns_that_teach_nothing_are_listed(row: Any, told: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match="wanted") as caught:
        find_shape(row, told)
    assert message in str(caught.value)


BAD: dict[str, tuple[Any, Any, str]] = {
    "missing": ({"prompt": "Q", "response": "A"}, {"prompt": "Q"}, "'response' is missing"),
    "empty": ({"prompt": "Q", "response": "A"}, {"prompt": " ", "response": "A"}, "'prompt' is empty"),
    "null": ({"prompt": "Q", "response": "A"}, {"prompt": None, "response": "A"}, "'prompt' is empty"),
    "number": ({"prompt": "Q", "response": "A"}, {"prompt": "Q", "response": 3}, "'response' is not text"),
    "another shape": (
        {"prompt": "Q", "response": "A"},
        {"messages": TURNS},
        "columns 'messages', where the rows before have 'prompt', 'response'",
    ),
    "no label": ({"text": "T", "label": "L"}, {"text": "T", "label": ""}, "'label' is empty"),
    "half a label": ({"text": "T", "label": "L"}, {"text": "T", "label": 0.5}, "'label' is not text"),
    "no turns": ({"messages": TURNS}, {"messages": []}, "'messages' is not a list of turns"),
    "words for turns": ({"messages": TURNS}, {"messages": "hello"}, "'messages' is not a list of turns"),
    "a word as turn": ({"messages": TURNS}, {"messages": ["hi"]}, "a turn is not an object"),
    "a critic": (
        {"messages": TURNS},
        {"messages": [{"role": "critic", "content": "x"}]},
        "role 'critic' is none of",
    ),
    "a listed role": ({"messages": TURNS}, {"messages": [{"role": [], "content": "x"}]}, "role [] is none"),
    "open end": ({"messages": TURNS}, {"messages": TURNS[:1]}, "must end with the assistant's"),
    "no question": ({"messages": TURNS}, {"messages": TURNS[1:]}, "needs a user turn"),
}


@pytest.mark.parametrize(("first", "row", "message"), BAD.values(), ids=BAD)
def test_a_row_that_teaches_nothing_says_why(first: Any, row: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        find_shape(first, {}).example(row)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("word", "split"), [("train", "train"), ("dev", "validation"), ("", None), (None, None)]
)
def test_a_row_may_name_its_split(word: str | None, split: str | None) -> None:
    row = {"prompt": "Q", "response": "A", "split": word}
    assert find_shape(row, {}).split(row) == split


def test_a_split_of_another_name_is_refused() -> None:
    row = {"prompt": "Q", "response": "A", "split": "holdout"}
    with pytest.raises(ValueError, match="split 'holdout' is none of"):
        find_shape(row, {}).split(row)
