"""Turns of conversations as files hold them: chat messages, ShareGPT, and calls of tools in the ways of either.

A call is a turn of the assistant (`tool_calls`, the older `function_call`, ShareGPT's `function_call` turn);
what a tool gave back is a turn of the tool (`tool`, `function`, `observation`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lftreg.plugins.types import Message, Role, ToolCall

# JSON can hold one half of a surrogate pair, UTF-8 cannot.
_HALF = re.compile("[\ud800-\udfff]")
SPEAKERS: Mapping[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


def listed_turns(row: Mapping[str, Any], column: str) -> tuple[Message, ...]:
    """The turns in a column. Raises ValueError with the reason where they are no conversation."""
    turns = parsed(row.get(column))
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"{column!r} is not a list of turns")
    messages = tuple(_turn(turn) for turn in turns)
    said = [message.role for message in messages]
    if said[-1] != "assistant" or "user" not in said:
        raise ValueError("a conversation needs a user turn and must end with the assistant's")
    return messages


def listed_tools(row: Mapping[str, Any], column: str) -> str:
    """The functions in a column as JSON, each in the form `{"type": "function", "function": ...}`; "" for none."""
    tools = row.get(column)
    if tools in (None, "", []):
        return ""
    tools = parsed(tools)
    if isinstance(tools, dict):
        tools = [tools]
    if not isinstance(tools, list):
        raise ValueError(f"{column!r} is not a list of functions")
    told = []
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError(f"{column!r} holds what is no function with a name")
        told.append({"type": "function", "function": function})
    return json.dumps(told, ensure_ascii=False) if told else ""


def _turn(turn: Any) -> Message:
    """A turn with role and content, or ShareGPT's from and value."""
    if not isinstance(turn, dict):
        raise ValueError("a turn is not an object with role and content")
    shared = "from" in turn and "role" not in turn
    speaker = turn.get("from" if shared else "role")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise ValueError(f"role {speaker!r} is none of system, user, assistant, tool")
    role, column = SPEAKERS[speaker], "value" if shared else "content"
    if speaker == "function_call":
        return Message(role, "", _calls(parsed(turn.get(column))))
    if role == "tool":
        return Message(
            role, _result(turn, column), name=_word(turn, "name"), call=_word(turn, "tool_call_id")
        )
    given = (turn.get("tool_calls") or turn.get("function_call")) if role == "assistant" else None
    calls = _calls(parsed(given)) if given else ()
    if calls and turn.get(column) in (None, ""):
        return Message(role, "", calls)
    return Message(role, string_in(turn, column), calls)


def _calls(given: Any) -> tuple[ToolCall, ...]:
    """Calls as OpenAI writes them, the function inside or bare; one or a list of them."""
    calls = given if isinstance(given, list) else [given]
    made = []
    for call in calls:
        function = (call.get("function") or call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError("a tool call is not an object with a name and arguments")
        arguments = parsed(function.get("arguments") or {})
        if not isinstance(arguments, dict):
            raise ValueError(f"the arguments of the call of {function['name']!r} are not a JSON object")
        made.append(ToolCall(function["name"], json.dumps(arguments, ensure_ascii=False), _word(call, "id")))
    return tuple(made)


def _result(turn: Mapping[str, Any], column: str) -> str:
    """What a tool gave back; an object stands for its JSON."""
    value = turn.get(column)
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else string_in(turn, column)
    )


def _word(turn: Mapping[str, Any], key: str) -> str:
    value = turn.get(key)
    return value if isinstance(value, str) else ""


def parsed(value: Any) -> Any:
    """A table holds lists and objects as text. What is no JSON is given back as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def string_in(row: Mapping[str, Any], column: str) -> str:
    """A text that is there and not empty. Raises ValueError with the reason where it is not."""
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        what = "missing" if column not in row else "empty" if value is None or value == "" else "not text"
        if isinstance(value, str) and value:
            what = "empty"
        raise ValueError(f"{column!r} is {what}")
    if _HALF.search(value):
        raise ValueError(f"{column!r} holds half of a character, such as an emoji that was cut in two")
    return value.strip()
