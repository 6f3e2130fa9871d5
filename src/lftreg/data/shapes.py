"""From columns to examples: which column is the prompt, and what a row then teaches.

Columns are found by the names that the field uses (Alpaca, ShareGPT, chat messages, questions and answers,
texts with labels) and may be told by hand, as a mapping from roles to columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from lftreg.data.turns import listed_tools, listed_turns, parsed, string_in
from lftreg.errors import UsageError
from lftreg.plugins.types import Example, Message, Split

# Names of columns by what they hold, the likeliest first; they are compared in lower case.
ROLES: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "system": ("system", "system_prompt"),
    "tools": ("tools",),
    "prompt": ("prompt", "instruction", "question", "query", "input"),
    "context": ("input", "context"),
    "response": ("response", "completion", "output", "answer", "reply"),
    "text": ("text", "sentence", "content", "document"),
    "label": ("label", "labels", "category", "class", "intent"),
    "split": ("split",),
    # Of these nothing is learned; an evaluation asks for them.
    "tests": ("tests", "asserts", "test"),
    "entry_point": ("entry_point",),
    "fact": ("fact",),
    "paraphrases": ("paraphrases",),
}
# What a row can be, by the roles it needs; the first that fits is meant.
SHAPES: tuple[tuple[str, ...], ...] = (("messages",), ("prompt", "response"), ("text", "label"), ("text",))
# What only an evaluation can ask: HumanEval and others have tests in place of an answer.
ASKED: tuple[tuple[str, ...], ...] = (*SHAPES, ("prompt", "tests"))
_JUDGED = ("tests", "entry_point", "fact", "paraphrases")
_EXTRAS = {"messages": ("system", "tools", *_JUDGED), "prompt": ("context", "system", *_JUDGED), "text": ()}
WANTED = "prompt and response; instruction, input and output; question and answer; messages; text and label"


@dataclass(frozen=True, slots=True)
class Shape:
    """How the rows of a file are read: the column of each role."""

    columns: Mapping[str, str]

    def example(self, row: Mapping[str, Any]) -> Example:
        """What a row teaches. Raises ValueError with the reason where it teaches nothing."""
        self._refuse_another_shape(row)
        columns = self.columns
        if "messages" in columns:
            tools = listed_tools(row, columns["tools"]) if "tools" in columns else ""
            turns = self._system(row) + listed_turns(row, columns["messages"])
            return Example(turns, tools=tools, **self._judged(row))
        if "prompt" in columns:
            asked = Message("user", self._prompt(row))
            if "response" not in columns:
                string_in(row, columns["tests"])  # what has neither an answer nor tests cannot be judged
                return Example((*self._system(row), asked), **self._judged(row))
            answered = Message("assistant", string_in(row, columns["response"]))
            return Example((*self._system(row), asked, answered), **self._judged(row))
        label = _label(row, columns["label"]) if "label" in columns else None
        return Example.passage(string_in(row, columns["text"]), label)

    def split(self, row: Mapping[str, Any]) -> Split | None:
        """The split that a row names itself. Raises ValueError for a word that is none."""
        given = row.get(self.columns.get("split", "split"))  # the first row need not have one
        if given in (None, ""):
            return None
        known: Mapping[str, Split] = {
            "train": "train", "validation": "validation", "valid": "validation", "val": "validation",
            "dev": "validation", "test": "test",
        }  # fmt: skip
        if not isinstance(given, str) or given not in known:
            raise ValueError(f"split {given!r} is none of train, validation, test")
        return known[given]

    def _prompt(self, row: Mapping[str, Any]) -> str:
        asked = string_in(row, self.columns["prompt"])
        context = self.columns.get("context")
        return f"{asked}\n\n{string_in(row, context)}" if context and row.get(context) else asked

    def _system(self, row: Mapping[str, Any]) -> tuple[Message, ...]:
        column = self.columns.get("system")
        return (Message("system", string_in(row, column)),) if column and row.get(column) else ()

    def _judged(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What an evaluation asks of a row beyond its turns; tests or a fact of another kind are as good as none.

        Tests that only define HumanEval's `check(candidate)` are given the call of it.
        """
        cells = {role: row.get(self.columns.get(role, role)) for role in _JUDGED}  # few rows need have them
        found: dict[str, Any] = {
            role: cells[role] for role in ("tests", "fact") if isinstance(cells.get(role), str)
        }
        entry = cells.get("entry_point")
        if isinstance(entry, str) and entry.isidentifier() and "def check(" in found.get("tests", ""):
            found["tests"] = f"{found['tests'].rstrip()}\n\ncheck({entry})\n"
        others = parsed(cells.get("paraphrases"))  # a table holds a list as text
        if others in (None, ""):
            return found
        if not isinstance(others, list) or not all(isinstance(one, str) for one in others):
            column = self.columns.get("paraphrases", "paraphrases")
            raise ValueError(
                f'{column!r} is not a list of texts, such as ["What is it?", "Tell me what it is"]'
            )
        return found | {"paraphrases": tuple(others)}

    def _refuse_another_shape(self, row: Mapping[str, Any]) -> None:
        """One file, one shape: a row without the file's columns is told apart from one with an empty cell."""
        needed = [
            self.columns[role] for role in ("messages", "prompt", "response", "text") if role in self.columns
        ]
        lacking = [column for column in needed if column not in row]
        if len(lacking) == len(needed):
            raise ValueError(f"columns {_listed(row)}, where the rows before have {_listed(needed)}")


def find_shape(
    row: Mapping[str, Any],
    told: Mapping[str, str],
    shapes: Sequence[tuple[str, ...]] = SHAPES,
) -> Shape:
    """The shape of a file by its first row; `told` maps roles to columns and goes before all names.

    Raises UsageError for a role or a column that is not there, ValueError where no shape fits.
    """
    _check_told(row, told)
    found = {**_by_name(row, taken=told.values()), **told}
    wanted = next(
        (shape for shape in shapes if _meant(shape, told) and all(role in found for role in shape)), None
    )
    if wanted is None:
        needs = next((shape for shape in SHAPES if _meant(shape, told)), SHAPES[1])
        lacking = [role for role in needs if role not in found]
        missing = f"no column for {' and '.join(lacking)}; " if told else ""
        raise ValueError(f"{missing}columns {_listed(row)}; wanted {WANTED}")
    roles = (*wanted, *_EXTRAS[wanted[0]], "split")
    columns = {role: found[role] for role in roles if role in found}
    if columns.get("context") == columns.get("prompt", ""):
        del columns["context"]
    return Shape(columns)


def _meant(shape: tuple[str, ...], told: Mapping[str, str]) -> bool:
    """Whether a shape uses the roles that were told by hand."""
    return {role for role in told if role not in ("split", "system", "context", "tools", *_JUDGED)} <= set(
        shape
    )


def _by_name(row: Mapping[str, Any], taken: Iterable[str]) -> dict[str, str]:
    """The column of every role that has one, each column once, but for a prompt that may be called input."""
    free = {column.lower(): column for column in row if column not in set(taken)}
    return {
        role: free[next(name for name in names if name in free)]
        for role, names in ROLES.items()
        if any(name in free for name in names)
    }


def _check_told(row: Mapping[str, Any], told: Mapping[str, str]) -> None:
    for role, column in told.items():
        if role not in ROLES:
            near = get_close_matches(role, ROLES, n=1)
            question = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"--map {role}={column}: unknown role {role!r}.{question}", f"roles: {', '.join(ROLES)}"
            )
        if column not in row:
            near = get_close_matches(column, row, n=1)
            question = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"--map {role}={column}: there is no column {column!r}.{question}",
                f"columns: {', '.join(map(str, row))}",
                code="unknown-column",
            )


def _label(row: Mapping[str, Any], column: str) -> str:
    """A label is a word or a whole number."""
    value = row.get(column)
    return str(value) if isinstance(value, int) else string_in(row, column)


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(map(repr, columns)) or "none"
