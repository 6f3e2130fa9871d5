"""Files that are not what they seem."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import kinds
from tests.faults.kinds import Case, Caught, Make, Setup, pairs, talks, train_on

ROW = r"\b(row|line|index|example|record)s?\b[^.]*\b(6|7|8)\b"  # counted from 0, from 1, or with a header
CHAT = {"assistant_only_loss": True}


def of_rows(rows: list[Any], *more: str, suffix: str = ".jsonl") -> Callable[[Path, Make], Setup]:
    """A tiny llama, and a file of these rows; a row that is text stands there as it is."""

    def build(folder: Path, make: Make) -> Setup:
        path = folder / f"rows{suffix}"
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        return Setup(train_on(path, make("llama"), *more), make("llama"), path)

    return build


def changed(rows: list[dict[str, Any]], at: int, **cells: Any) -> list[dict[str, Any]]:
    """Rows of which number `at`, counted from 1, has other cells; None takes a column out."""
    row = {key: value for key, value in (rows[at - 1] | cells).items() if value is not None}
    return [*rows[: at - 1], row, *rows[at:]]


def unknown_columns() -> list[dict[str, Any]]:
    return [{"Frage": row["prompt"], "Antwort": row["completion"]} for row in pairs()]


def ending_with_the_user() -> list[dict[str, Any]]:
    rows = talks()
    rows[6]["messages"].append({"role": "user", "content": "And then?"})
    return rows


def never_answered() -> list[dict[str, Any]]:
    rows = talks()
    rows[6]["messages"] = rows[6]["messages"][:1]
    return rows


def too_long_prompts() -> list[dict[str, Any]]:
    return [row | {"prompt": row["prompt"] * 20} for row in pairs()]


def _answers(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(row["completion"] for row in rows)


def _one_long_answer(folder: Path, make: Make) -> Setup:
    rows = changed(pairs(), 7, completion="It is on its way to you. " * 30)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Setup(train_on(path, make("llama"), "--max-length", "64"), make("llama"), path)


def _labels_for_a_causal_model(folder: Path, make: Make) -> Setup:
    rows = [{"text": f"Letter {n} says hello", "label": ("urgent", "later")[n % 2]} for n in range(12)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Setup(train_on(path, make("llama")), make("llama"), path, texts=("urgent", "later"))


def _csv(folder: Path, make: Make) -> Setup:
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(pairs())
    text = path.read_text(encoding="utf-8").splitlines()
    text[7] = f'"{text[7]}'  # the quote of row 7 is never closed
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return Setup(train_on(path, make("llama")), make("llama"), path, texts=_answers(pairs()))


def _latin(folder: Path, make: Make) -> Setup:
    rows = changed(pairs(), 7, completion="Es steht vor der Tür.")
    path = folder / "rows.jsonl"
    path.write_bytes("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode("latin-1"))
    return Setup(train_on(path, make("llama")), make("llama"), path, texts=_answers(rows))


def _one_label(folder: Path, make: Make) -> Setup:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"letter {n}", "label": "post"}) + "\n" for n in range(12)))
    return Setup(train_on(path, make("bert")), make("bert"), path)


def split_rows(**places: list[int]) -> list[dict[str, Any]]:
    where = {n: split for split, numbers in places.items() for n in numbers}
    return [row | {"split": where.get(n, "train")} for n, row in enumerate(pairs())]


def on_two_sides() -> list[dict[str, Any]]:
    rows = split_rows(validation=[10, 11])
    return [*rows, rows[0] | {"split": "validation"}]


CASES = (
    Case(
        "missing column", "a bare KeyError for a missing column",
        of_rows(unknown_columns()),
        Caught("bad-row", r"row 1: columns 'Frage', 'Antwort'; wanted prompt and response"),
        clear=r"columns?\b.*Frage|Frage.*columns?\b", holds=kinds.stops, trl={},
    ),
    Case(
        "missing cell", "one row without a column, cryptic error",
        of_rows(changed(pairs(), 7, completion=None)),
        Caught("bad-row", r"row 7: 'completion' is missing"), clear=ROW, holds=kinds.stops, trl={},
    ),
    Case(
        "empty answer", "one empty row, cryptic error or none",
        of_rows(changed(pairs(), 7, completion="")),
        Caught("bad-row", r"row 7: 'completion' is empty"), clear=ROW, holds=kinds.stops, trl={},
    ),
    Case(
        "empty messages", "one empty row, cryptic error or none",
        of_rows(changed(talks(), 7, messages=[])),
        Caught("bad-row", r"row 7: 'messages' is not a list of turns"), clear=ROW, holds=kinds.stops, trl=CHAT,
    ),
    Case(
        "not JSON", "one broken line",
        of_rows([*pairs()[:6], '{"prompt": "Where?", ', *pairs()[6:]]),
        Caught("bad-row", r"row 7: not JSON"), clear=ROW, holds=kinds.stops, trl={},
    ),
    Case(
        "truncated away", "truncation removes every label and loss 0.0 looks like success",
        of_rows(too_long_prompts(), "--max-length", "48"),
        Caught("all-too-long", r"every train row is longer than 48 tokens \(the longest has \d+\)"),
        clear=r"longer than|truncat|max_length", holds=kinds.stops, trl={"max_length": 48},
    ),
    Case(
        "truncated answer", "truncation cuts the end of an answer, which then never stops",
        _one_long_answer, holds=kinds.stops, trl={"max_length": 64},
    ),
    Case(
        "half a character", "an emoji that was cut in two",
        of_rows(changed(pairs(), 7, completion="It is on van 7 \ud83d")),
        Caught("bad-row", r"row 7: 'completion' holds half of a character"), clear=ROW, holds=kinds.finished,
        trl={},
    ),
    Case(
        "user has the last word", "a conversation that ends with the user",
        of_rows(ending_with_the_user()),
        Caught("bad-row", r"row 7: a conversation needs a user turn and must end with the assistant's"),
        clear=ROW + "|last turn|ends? with", holds=kinds.stops, trl=CHAT,
    ),
    Case(
        "no answer at all", "all labels of a row are masked",
        of_rows(never_answered()),
        Caught("bad-row", r"row 7: a conversation needs a user turn and must end with the assistant's"),
        clear=ROW + "|no assistant tokens", holds=kinds.stops, trl=CHAT,
    ),
    Case(
        "labels for a causal model", "labels of a file are passed over",
        _labels_for_a_causal_model, holds=kinds.all_answers,
    ),
    Case(
        "stray quote", "a quote that is never closed swallows the rest of a CSV file",
        _csv, Caught("bad-row", r"row 7: not CSV .*is a quote left open"),
        clear=ROW, holds=kinds.all_answers, trl={},
    ),
    Case(
        "not UTF-8", "a file from a spreadsheet",
        _latin, Caught("not-utf8", r"line 7 is not UTF-8 text"), clear="utf-?8", holds=kinds.all_answers, trl={},
    ),
    Case(
        "rows that stand there twice", "what is held out was trained on",
        of_rows([row for row in pairs(40) for _ in (0, 1)]), holds=kinds.held_apart, trl={"test_size": 0.1},
    ),
    Case(
        "one label", "a classifier of one class",
        _one_label, Caught("one-label", r"every row has the label 'post'"),
    ),
    Case(
        "too few rows", "a file of three rows",
        of_rows(pairs(3)), Caught("few-rows", r"3 rows in rows.jsonl: too few"),
    ),
    Case(
        "no rows", "a file with nothing in it",
        of_rows([]), Caught("few-rows", r"no row in rows.jsonl"),
        clear=r"empty|no rows?|0 rows", holds=kinds.finished, trl={},
    ),
    Case(
        "one prompt", "all rows ask the same",
        of_rows([row | {"prompt": "Where?"} for row in pairs()]),
        Caught("few-rows", r"no row falls to \w+: all rows ask the same"),
    ),
    Case(
        "nothing held out", "the validation split is empty",
        of_rows(split_rows()), Caught("few-rows", r"no row falls to validation"),
    ),
    Case(
        "word that is no split", "a typing error in the column split",
        of_rows(changed(split_rows(validation=[1, 2]), 7, split="trian")),
        Caught("bad-row", r"row 7: split 'trian' is none of train, validation, test"),
    ),
    Case(
        "prompt on two sides", "a prompt is trained on and held out",
        of_rows(on_two_sides()), Caught("shared-rows", r"1 rows of validation ask what rows of train ask too"),
    ),
)  # fmt: skip
