from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lftreg.data import domain_from_files
from lftreg.errors import InvalidData, NotFound
from lftreg.plugins.types import SPLITS


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def pairs(count: int) -> list[Any]:
    return [{"prompt": f"Question {n}?", "response": f"Answer {n}."} for n in range(count)]


SHAPES = {
    "prompt/response": {"prompt": "Q", "response": "A"},
    "prompt/completion": {"prompt": "Q", "completion": "A"},
    "instruction/output": {"instruction": "Q", "input": "", "output": "A"},
    "question/answer": {"question": "Q", "answer": "A"},
    "messages": {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
}


@pytest.mark.parametrize("row", SHAPES.values(), ids=SHAPES)
def test_the_usual_shapes_are_recognised(tmp_path: Path, row: dict[str, Any]) -> None:
    path = written(
        tmp_path / "own.jsonl", [row | {"split": s} for s in ("train", "validation") for _ in range(6)]
    )
    domain = domain_from_files([path])
    example = next(iter(domain.build("train", 0)))
    assert (domain.name, example.prompt, example.response) == ("own", "Q", "A")


def test_an_input_column_joins_the_prompt(tmp_path: Path) -> None:
    row = {"instruction": "Translate", "input": "oui", "output": "yes", "split": "train"}
    other = row | {"input": "", "split": "validation"}
    domain = domain_from_files([written(tmp_path / "a.jsonl", [row, other] * 5)])
    assert next(iter(domain.build("train", 0))).prompt == "Translate\n\noui"
    assert next(iter(domain.build("validation", 0))).prompt == "Translate"


def test_every_row_falls_to_one_split_and_stays_there_as_the_file_grows(tmp_path: Path) -> None:
    few = domain_from_files([written(tmp_path / "a.jsonl", pairs(100))])
    more = domain_from_files([written(tmp_path / "b.jsonl", pairs(200))])
    for split in SPLITS:
        before = {example.prompt for example in few.build(split, 0)}
        assert before
        assert before <= {example.prompt for example in more.build(split, 0)}
    assert sum(len(list(few.build(split, 0))) for split in SPLITS) == 100


BAD = {
    "not JSON": ("{oops", "row 12: not JSON"),
    "a list": ([1], "row 12: not a JSON object"),
    "missing": ({"prompt": "Q"}, "row 12: 'response' is missing"),
    "empty": ({"prompt": "", "response": "A"}, "row 12: 'prompt' is empty"),
    "number": ({"prompt": "Q", "response": 3}, "row 12: 'response' is not text"),
    "split": ({"prompt": "Q", "response": "A", "split": "dev"}, "row 12: split 'dev'"),
}


@pytest.mark.parametrize(("row", "message"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named_by_its_number(tmp_path: Path, row: Any, message: str) -> None:
    path = written(tmp_path / "own.jsonl", [*pairs(11), row, *pairs(3)])
    with pytest.raises(InvalidData) as error:
        domain_from_files([path])
    assert message in error.value.message


def test_unknown_columns_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"row 1: columns 'text', 'label'; wanted prompt and response"):
        domain_from_files([written(tmp_path / "own.jsonl", [{"text": "a", "label": "b"}])])


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        domain_from_files([tmp_path / "none.jsonl"])
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidData, match="not UTF-8"):
        domain_from_files([tmp_path / "bytes.jsonl"])
    with pytest.raises(InvalidData, match=r"not a \.jsonl file"):
        domain_from_files([written(tmp_path / "own.csv", [])])


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="3 rows are too few"):
        domain_from_files([written(tmp_path / "own.jsonl", pairs(3))])
