from __future__ import annotations

import json
from typing import Any

import pytest

from lftreg.data.origin import data_digest
from lftreg.data.shapes import find_shape
from lftreg.errors import UsageError
from lftreg.plugins.types import Example, Message, ToolCall

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


CALL = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"parcel": 3}'}}
CALLED = (
    Message("user", "Where?"),
    Message("assistant", "", (ToolCall("track", '{"parcel": 3}', "c1"),)),
    Message("tool", "van", name="track", call="c1"),
    Message("assistant", "On the van."),
)
ASKED, ANSWERED = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "On the van."}
GAVE = {"role": "tool", "content": "van", "name": "track", "tool_call_id": "c1"}
BARE = (
    CALLED[0],
    Message("assistant", "", (ToolCall("track", '{"parcel": 3}'),)),
    Message("tool", "van"),
    CALLED[3],
)
TOOLED: dict[str, tuple[list[Any], tuple[Message, ...]]] = {
    "OpenAI": ([ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}, GAVE, ANSWERED], CALLED),
    "no content": ([ASKED, {"role": "assistant", "tool_calls": [CALL]}, GAVE, ANSWERED], CALLED),
    "functions": (
        [
            ASKED,
            {"role": "assistant", "content": None, "function_call": CALL["function"]},
            {"role": "function", "content": "van"},
            ANSWERED,
        ],
        BARE,
    ),
    "ShareGPT": (
        [
            {"from": "human", "value": "Where?"},
            {"from": "function_call", "value": '{"name": "track", "arguments": {"parcel": 3}}'},
            {"from": "observation", "value": "van"},
            {"from": "gpt", "value": "On the van."},
        ],
        BARE,
    ),
}


@pytest.mark.parametrize(("turns", "messages"), TOOLED.values(), ids=TOOLED)
def test_calls_of_tools_are_read_in_every_way(turns: list[Any], messages: tuple[Message, ...]) -> None:
    assert find_shape({"messages": turns}, {}).example({"messages": turns}).messages == messages


@pytest.mark.parametrize("wrap", [lambda tools: tools, json.dumps])
def test_functions_that_may_be_called_stand_in_a_column(wrap: Any) -> None:
    row = {"messages": TURNS, "tools": wrap([{"name": "track", "parameters": {}}])}
    told = json.loads(find_shape(row, {}).example(row).tools)
    assert told == [{"type": "function", "function": {"name": "track", "parameters": {}}}]
    for nothing in (None, "", [], "[]"):
        assert find_shape(row, {}).example(row | {"tools": nothing}).tools == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{"role": "assistant", "tool_calls": [3]}]}, "a tool call is not an object"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}]},
            "the arguments of the call of 'f' are not a JSON object",
        ),
        ({"messages": [{"role": "tool", "content": ""}]}, "'content' is empty"),
        ({"messages": TURNS, "tools": "track"}, "'tools' is not a list of functions"),
        ({"messages": TURNS, "tools": [{"parameters": {}}]}, "no function with a name"),
    ],
)
def test_calls_that_make_no_sense_are_refused(row: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        find_shape({"messages": TURNS, "tools": []}, {}).example(row)
    assert message in str(caught.value)


def test_digests_of_rows_without_tools_are_as_they_were() -> None:
    """Versions keep the digest of what they were trained on."""
    plain = data_digest({"train": [PAIR, Example.passage("T", "L")]})
    assert plain == "32fa15ced2ec0ac8cded7afd767e91b763a6171896c902420a54acfba29d0a48"
    assert (
        data_digest({"train": [Example(PAIR.messages, origin="a.jsonl, row 1"), Example.passage("T", "L")]})
        == plain
    )
    digests = {
        data_digest({"train": [example]})
        for example in (Example(CALLED), Example(BARE), Example(BARE, tools="[]"), PAIR)
    }
    assert len(digests) == 4
