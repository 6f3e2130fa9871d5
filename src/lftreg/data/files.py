"""A user's own files as a domain: rows in, examples out, what was found on the way kept to be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lftreg.data.formats import read_rows, refuse_row
from lftreg.data.shapes import Shape, find_shape
from lftreg.data.splits import SPLIT_FILE, Places, key_of, place_rows, split_record
from lftreg.errors import InvalidData
from lftreg.plugins.types import SPLITS, Domain, Example, Split

FEWEST_ROWS = 10
_NOT_A_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """One file as it was understood: the column of each role, and how many rows it holds."""

    path: Path
    columns: Mapping[str, str]
    rows: int


@dataclass(frozen=True, slots=True)
class Data:
    """Files as a domain. `split_by` says what parts the rows: a column, or the hash of the prompt."""

    domain: Domain
    sources: tuple[Source, ...]
    examples: Mapping[Split, tuple[Example, ...]]
    split_by: str

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(
            sorted({e.label for rows in self.examples.values() for e in rows if e.label is not None})
        )


def read_data(
    paths: Sequence[Path],
    name: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    remembered: Places | None = None,
) -> Data:
    """Files of one shape or several, named after the first. Imports no torch.

    `columns` maps roles to columns where their names do not tell; `remembered` are places of rows that an
    earlier version gave. Raises InvalidData naming the first bad row, and for too few rows, or labels
    of one class.
    """
    sources: list[Source] = []
    rows: list[tuple[Split | None, Example]] = []
    for path in paths:
        shape, found = _read(path, columns or {})
        sources.append(Source(path, shape.columns if shape else {}, len(found)))
        rows += found
    _check_amount(rows, paths)
    keys = [key_of(example) for split, example in rows if split is None]
    told = {key_of(example): split for split, example in rows if split is not None}
    places = place_rows(keys, {**(remembered or {}), **told})
    examples: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for split, example in rows:
        examples[split or places[key_of(example)]].append(example)
    _check_splits(examples, len(set(keys)))
    _refuse_shared(examples)
    summary = f"{len(rows)} rows of {', '.join(path.name for path in paths)}"
    parts = {split: tuple(found) for split, found in examples.items()}
    domain = Domain(
        name or name_of(paths[0]),
        summary,
        lambda split, _seed: iter(parts[split]),
        attachments={SPLIT_FILE: split_record(places)} if places else {},
    )
    return Data(domain, tuple(sources), parts, "a hash of the prompt" if places else "the column 'split'")


def domain_from_files(
    paths: Sequence[Path], name: str | None = None, *, columns: Mapping[str, str] | None = None
) -> Domain:
    """Files as a domain that `train` takes; see `read_data`."""
    return read_data(paths, name, columns=columns).domain


def name_of(path: Path) -> str:
    """The name that an adapter has by its file: the stem, as far as names allow."""
    return _NOT_A_NAME.sub("-", path.stem.lower()).strip("-._")[:64] or "data"


def _read(path: Path, columns: Mapping[str, str]) -> tuple[Shape | None, list[tuple[Split | None, Example]]]:
    shape: Shape | None = None
    rows: list[tuple[Split | None, Example]] = []
    for number, row in read_rows(path):
        try:
            shape = shape or find_shape(row, columns)
        except ValueError as error:
            refuse_row(
                path, number, str(error), "tell which is which: --map prompt=COLUMN --map response=COLUMN"
            )
        try:
            rows.append((shape.split(row), shape.example(row)))
        except ValueError as error:
            refuse_row(path, number, str(error))
    return shape, rows


def _check_amount(rows: Sequence[tuple[Split | None, Example]], paths: Sequence[Path]) -> None:
    if len(rows) < FEWEST_ROWS:
        where = paths[0].name if len(paths) == 1 else "the files together"
        held = "no row" if not rows else "one row" if len(rows) == 1 else f"{len(rows)} rows"
        raise InvalidData(
            f"{held} in {where}: too few to learn from", f"give {FEWEST_ROWS} or more", code="few-rows"
        )
    labelled = [example for _, example in rows if example.label is not None]
    labels = {example.label for example in labelled}
    if len(labels) == 1:
        raise InvalidData(
            f"every row has the label {labels.pop()!r}: there is nothing to tell apart",
            "give rows of at least two labels",
            code="one-label",
        )
    if labelled and len(labelled) < len(rows):
        raise InvalidData(
            f"{len(rows) - len(labelled)} of {len(rows)} rows have no label, the others have one",
            "train labels and other rows apart",
            code="mixed-shapes",
        )


def _check_splits(examples: Mapping[Split, Sequence[Example]], prompts: int) -> None:
    """`prompts` is how many different ones there are among rows that name no split."""
    for split in ("validation", "train"):
        if not examples[split]:
            why = ": all rows ask the same, and what is asked is held out or not" if prompts == 1 else ""
            raise InvalidData(
                f"no row falls to {split}{why}", "add rows, or name it in the column `split`", code="few-rows"
            )


def _refuse_shared(examples: Mapping[Split, Sequence[Example]]) -> None:
    """What is held out must not be trained on: only a file's own column can put a prompt on two sides."""
    trained = {key_of(example) for example in examples["train"]}
    for split in ("validation", "test"):
        shared = [example for example in examples[split] if key_of(example) in trained]
        if shared:
            raise InvalidData(
                f"{len(shared)} rows of {split} ask what rows of train ask too, such as {shared[0].prompt[:60]!r}",
                "correct the column `split`, or leave it out",
                code="shared-rows",
            )
