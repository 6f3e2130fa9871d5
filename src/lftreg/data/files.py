"""A user's own files as a domain: rows in, examples out, what was found on the way kept to be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lftreg.data.shapes import ASKED
from lftreg.data.sources import Found, Source, read_wanted
from lftreg.data.splits import SPLIT_FILE, Places, chosen_by_hash, key_of, place_rows, split_record
from lftreg.data.wanted import Wanted, parse_data
from lftreg.errors import InvalidData, UsageError
from lftreg.plugins.types import SPLITS, Domain, Example, Split

__all__ = ["Data", "Source", "domain_from_files", "name_of", "read_data"]

FEWEST_ROWS = 10
_NOT_A_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Data:
    """Files as a domain. `split_by` says what parts the rows: a column, names of files, or the hash of the prompt.

    `examples` holds every row once; the domain gives rows of train as often as their weights say. `shared`
    counts rows of files named train that were left out because a file held out asks the same.
    """

    domain: Domain
    sources: tuple[Source, ...]
    examples: Mapping[Split, tuple[Example, ...]]
    split_by: str
    trained: int = 0
    shared: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(
            sorted({e.label for rows in self.examples.values() for e in rows if e.label is not None})
        )

    def changed(self) -> list[str]:
        """The names of sources whose files hold something else by now."""
        return [source.name for source in self.sources if source.changed]


def read_data(
    paths: Sequence[str | Path],
    name: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    remembered: Places | None = None,
) -> Data:
    """Files, folders and datasets of the hub, of one shape or several, named after the first. Imports no torch.

    A text is read as `--data` is, and may end in a weight; a Path is a file or a folder. `columns` maps roles
    to columns where their names do not tell; `remembered` are places of rows that an earlier version gave.
    Raises InvalidData naming the first bad row, and for too few rows, or labels of one class.
    """
    wanted = [parse_data(path) for path in paths]
    _refuse_twice(wanted)
    sources: list[Source] = []
    rows: list[Found] = []
    for one in wanted:
        found, held = read_wanted(one, columns or {})
        sources += found
        rows += held
    names = [_called(one) for one in wanted]
    _check_amount(rows, names)
    examples, places, shared = _placed(rows, remembered or {})
    _check_splits(examples, len({key_of(row.example) for row in rows}))
    _refuse_shared(examples)
    weights = {id(row.example): row.weight for row in rows}
    parts = {split: tuple(found) for split, found in examples.items()}
    shown = parts | {"train": _weighted(parts["train"], weights)}
    domain = Domain(
        name or name_of(paths[0]),
        f"{len(rows)} rows of {', '.join(names)}",
        lambda split, _seed: iter(shown[split]),
        attachments={SPLIT_FILE: split_record(places)} if places else {},
    )
    return Data(domain, tuple(sources), parts, _split_by(rows, places), len(shown["train"]), shared)


def rows_of(path: str | Path, columns: Mapping[str, str]) -> list[Found]:
    """The rows of a file as an evaluation asks them, however few: with an answer, or with tests in its place.

    Raises InvalidData that names the first bad one.
    """
    return read_wanted(parse_data(path), columns, ASKED)[1]


def domain_from_files(
    paths: Sequence[str | Path], name: str | None = None, *, columns: Mapping[str, str] | None = None
) -> Domain:
    """Files as a domain that `train` takes; see `read_data`."""
    return read_data(paths, name, columns=columns).domain


def name_of(path: str | Path) -> str:
    """The name that an adapter has by its file: the stem, as far as names allow."""
    return _NOT_A_NAME.sub("-", parse_data(path).stem.lower()).strip("-._")[:64] or "data"


def _called(wanted: Wanted) -> str:
    """What it is called in a summary: a folder ends in a slash."""
    if wanted.path is None:
        return str(wanted)
    return f"{wanted.path.resolve().name}/" if wanted.path.is_dir() else wanted.path.name


def _placed(rows: Sequence[Found], remembered: Places) -> tuple[dict[Split, list[Example]], Places, int]:
    """Rows by split, the places that were chosen here, and how many rows were left out of train.

    A file named train is parted like any other where no file beside it is named validation; what is named
    validation or test stays what it is.
    """
    told: dict[str, Split] = {}
    held_out: set[str] = set()
    for row in rows:
        split = _told(row)
        if split is not None:
            told[key_of(row.example)] = split
            if row.split is None and split != "train":
                held_out.add(key_of(row.example))
    free = [key_of(row.example) for row in rows if _told(row) is None]
    # A row of train that asks what is held out by the name of a file goes out, and is no row to be placed.
    chosen = place_rows(free, {**remembered, **told})
    places = {key: split for key, split in chosen.items() if key not in held_out}
    examples: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    shared = 0
    for row in rows:
        key = key_of(row.example)
        split = _told(row) or chosen[key]
        if row.named == "train" and row.split is None:
            if key in held_out:
                shared += 1
                continue
            if row.tested and split == "test":
                split = places[key] = "train"
        examples[split].append(row.example)
    return examples, places, shared


def _told(row: Found) -> Split | None:
    """The split that a row or its file names; `train` says little where nobody names a validation."""
    if row.split is not None:
        return row.split
    return None if row.named == "train" and not row.validated else row.named


def _split_by(rows: Sequence[Found], places: Places) -> str:
    how = []
    if any(row.split is not None for row in rows) or not (places or any(row.named for row in rows)):
        how.append("the column 'split'")
    if any(row.named is not None and row.split is None for row in rows):
        how.append("the names of files")
    if places:
        how = [one for one in how if one != "the column 'split'"]
        how.append("a hash of the prompt")
    return " and ".join(how)


def _weighted(examples: Sequence[Example], weights: Mapping[int, float]) -> tuple[Example, ...]:
    """Rows as often as a pass shows them: whole times, and one more for a share that the rows' hashes choose."""
    shown: list[Example] = []
    for example in examples:
        whole = int(weights[id(example)])
        share = weights[id(example)] - whole
        shown += [example] * (whole + (share > 0 and chosen_by_hash(example, share)))
    if not shown:
        raise InvalidData("at these weights no row of train is left", "give a larger weight", code="few-rows")
    return tuple(shown)


def _refuse_twice(wanted: Sequence[Wanted]) -> None:
    seen: set[str] = set()
    for one in wanted:
        known = str(one if one.path is None else one.path.resolve())
        if known in seen:
            raise UsageError(
                f"{one} is given twice", f"a weight shows its rows more often: {one}:2", code="same-data"
            )
        seen.add(known)


def _check_amount(rows: Sequence[Found], names: Sequence[str]) -> None:
    if len(rows) < FEWEST_ROWS:
        where = names[0] if len(names) == 1 else "the files together"
        held = "no row" if not rows else "one row" if len(rows) == 1 else f"{len(rows)} rows"
        raise InvalidData(
            f"{held} in {where}: too few to learn from", f"give {FEWEST_ROWS} or more", code="few-rows"
        )
    labelled = [row.example for row in rows if row.example.label is not None]
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
    """`prompts` is how many different ones there are."""
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
