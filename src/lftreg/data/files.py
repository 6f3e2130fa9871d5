"""A user's own file as a domain: JSON Lines in, examples out, every bad row named."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData, NotFound
from lftreg.plugins.types import Domain, Example, Message, Split

# (column of the prompt, column of an optional context below it, column of the response)
SHAPES = (
    ("prompt", None, "response"),
    ("prompt", None, "completion"),
    ("instruction", "input", "output"),
    ("question", None, "answer"),
)
VALIDATION, TEST = 0.1, 0.1  # shares of a file that is not split by its author
FEWEST_ROWS = 10
_NOT_A_NAME = re.compile(r"[^a-z0-9._-]+")


def domain_from_files(paths: Sequence[Path], name: str | None = None) -> Domain:
    """A domain over one or several `.jsonl` files, named after the first.

    A row is `{"prompt", "response"}`, `{"instruction", "input", "output"}`, `{"question", "answer"}` or
    `{"messages": [{"role", "content"}, ...]}`, and may hold `"split"`: train, validation or test. Without
    one, a row's split follows from the hash of its prompt, so that it never moves as the file
    grows and equal prompts stay on one side. Raises InvalidData naming the first bad row.
    """
    examples: dict[Split, list[Example]] = {"train": [], "validation": [], "test": []}
    for path in paths:
        for split, example in _read(path):
            examples[split].append(example)
    total = sum(map(len, examples.values()))
    if total < FEWEST_ROWS:
        raise InvalidData(
            f"{total} rows are too few to learn from", f"give {FEWEST_ROWS} or more", code="few-rows"
        )
    for split in ("validation", "train"):
        if not examples[split]:
            raise InvalidData(f"no row falls to {split}", "add rows, or a `split` column", code="few-rows")
    stem = _NOT_A_NAME.sub("-", paths[0].stem.lower()).strip("-._") or "data"
    summary = f"{total} rows of {', '.join(path.name for path in paths)}"
    return Domain(name or stem, summary, lambda split, _seed: iter(examples[split]))


def _read(path: Path) -> Iterator[tuple[Split, Example]]:
    if not path.is_file():
        raise NotFound(f"no file {path}", "give the path of a .jsonl file", code="unknown-file")
    if path.suffix != ".jsonl":
        raise InvalidData(
            f"{path.name} is not a .jsonl file", "write one JSON object a line", code="unknown-format"
        )
    shape: Callable[[dict[str, Any]], Example] | None = None
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(_text(lines, path), start=1):
            if not line.strip():
                continue
            try:
                row = _object(line)
                shape = shape or _shape_of(row)
                example = shape(row)
                yield _split_of(row, example), example
            except ValueError as error:
                raise InvalidData(f"{path.name}, row {number}: {error}", "nothing was registered") from error


def _text(lines: Any, path: Path) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise InvalidData(f"{path.name} is not UTF-8 text", "save it as UTF-8") from error


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row


def _shape_of(row: dict[str, Any]) -> Callable[[dict[str, Any]], Example]:
    """How to read the file, from the columns of its first row."""
    if "messages" in row:
        return _conversation
    for prompt, context, response in SHAPES:
        if prompt in row and response in row:
            return lambda row: _pair(row, prompt, context, response)
    wanted = "; ".join(f"{prompt} and {response}" for prompt, _, response in SHAPES)
    raise ValueError(f"columns {', '.join(map(repr, row)) or 'none'}; wanted {wanted}; or messages")


def _pair(row: dict[str, Any], prompt: str, context: str | None, response: str) -> Example:
    asked = _string(row, prompt)
    if context is not None and row.get(context):
        asked = f"{asked}\n\n{_string(row, context)}"
    return Example.pair(asked, _string(row, response))


def _conversation(row: dict[str, Any]) -> Example:
    turns = row.get("messages")
    if not isinstance(turns, list) or not turns:
        raise ValueError("messages is not a list of turns")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise ValueError("a turn is not an object with role and content")
        role = turn.get("role")
        if role not in ("system", "user", "assistant"):
            raise ValueError(f"role {role!r} is none of system, user, assistant")
        messages.append(Message(role, _string(turn, "content")))
    roles = [message.role for message in messages]
    if roles[-1] != "assistant" or "user" not in roles:
        raise ValueError("a conversation needs a user turn and must end with the assistant's")
    return Example(tuple(messages))


def _string(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        what = "missing" if column not in row else "empty" if value in ("", None) else "not text"
        raise ValueError(f"{column!r} is {what}")
    return value.strip()


def _split_of(row: dict[str, Any], example: Example) -> Split:
    given = row.get("split")
    if given is not None:
        if given not in ("train", "validation", "test"):
            raise ValueError(f"split {given!r} is none of train, validation, test")
        chosen: Split = given
        return chosen
    place = int.from_bytes(hashlib.sha256(example.prompt.encode()).digest()[:8]) / 2**64
    return "validation" if place < VALIDATION else "test" if place < VALIDATION + TEST else "train"
