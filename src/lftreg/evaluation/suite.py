"""What is asked: the items of a suite, and the digest that two scores must share to be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lftreg.data.files import name_of, rows_of
from lftreg.data.formats import READERS
from lftreg.data.origin import examples_of
from lftreg.data.splits import key_of
from lftreg.data.wanted import parse_data
from lftreg.errors import InvalidData, LftregError, NotFound, UsageError
from lftreg.plugins.host import Host
from lftreg.plugins.types import Example, Message
from lftreg.registry import Registry, Version


@dataclass(frozen=True, slots=True)
class Item:
    """One question, and what a good answer to it looks like.

    `asked` are the turns before the answer, and all that a decoder is shown; `reference` is the answer. A bare
    text has no turns: it has a loss and nothing else.
    """

    asked: tuple[Message, ...]
    reference: str
    example: Example
    paraphrases: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        return self.example.prompt


@dataclass(frozen=True)
class Suite:
    """Items under a name. Equal items have equal digests, wherever they come from.

    `trained_left_out` counts the rows of a file that are not asked, since who is asked was trained on them.
    """

    name: str
    items: tuple[Item, ...]
    trained_left_out: int = 0

    @cached_property
    def digest(self) -> str:
        """sha256 of all that is asked and expected."""
        whole = hashlib.sha256()
        for item in self.items:
            example = item.example
            told = [[m.role, m.content, [[c.name, c.arguments] for c in m.calls]] for m in example.messages]
            more = [example.text, example.label, example.tools, example.tests, list(item.paraphrases)]
            whole.update(json.dumps([told, more], ensure_ascii=False).encode() + b"\n")
        return whole.hexdigest()


def find_suite(
    named: str | None,
    version: Version | None,
    registry: Registry,
    host: Host,
    columns: Mapping[str, str] | None = None,
) -> Suite:
    """The suite called `named`: the test split of a domain, or a file; None is the test split of a version's own data.

    Of a file whose rows name a split, only those of test are asked. Raises NotFound for a name that is neither,
    InvalidData for an empty suite, UsageError for `columns` where no file is named.
    """
    if columns and (named is None or not _is_file(named)):
        raise UsageError(
            "--map tells the columns of a file, and no file is asked", "name it: --suite FILE", code="no-file"
        )
    if named is None:
        return _own(version, registry, host)
    if _is_file(named):
        rows = rows_of(named, columns or {})
        told = [row.example for row in rows if row.split == "test"]
        if not told and any(row.split is not None for row in rows):
            raise InvalidData(
                f"no row of {named} is in the split test", "leave the column `split` out, or name some test"
            )
        return make_suite(name_of(named), told or [row.example for row in rows])
    domain = host.domain(named)
    held_out = [tuple(domain.build(split, 0)) for split in ("validation", "test")]
    return make_suite(named, held_out[1], held_out[0])


def make_suite(name: str, examples: Sequence[Example], others: Sequence[Example] = ()) -> Suite:
    """Rows as items. Rows of `others`, which are held out too, ask for the same `fact` in other words.

    Raises InvalidData where there is none.
    """
    if not examples:
        raise InvalidData(
            f"suite {name!r} has no items", "give rows with a prompt and a response", code="no-items"
        )
    wordings: dict[str, list[str]] = {}
    for example in (*others, *examples):
        if example.fact is not None:
            wordings.setdefault(example.fact, []).append(example.prompt)
    return Suite(name, tuple(_item(example, wordings) for example in examples))


def _item(example: Example, wordings: Mapping[str, Sequence[str]]) -> Item:
    paraphrases = example.paraphrases or tuple(
        dict.fromkeys(p for p in wordings.get(example.fact or "", ()) if p != example.prompt)
    )
    if example.messages:
        asked = example.messages[:-1] if example.messages[-1].role == "assistant" else example.messages
    elif example.label is not None:
        asked = (Message("user", example.text),)
    else:
        asked = ()
    return Item(asked, example.response, example, paraphrases)


def _own(version: Version | None, registry: Registry, host: Host) -> Suite:
    if version is None:
        raise UsageError(
            "a bare base has no test split of its own", "name one: --suite DOMAIN or --suite FILE"
        )
    try:
        examples = examples_of(version, registry, host)
    except NotFound as error:
        raise NotFound(
            f"{version.ref} has no test split to be asked: {error.message}",
            "name a suite: --suite DOMAIN or --suite FILE",
            code="no-suite",
        ) from error
    if not examples["test"]:
        raise InvalidData(
            f"the data of {version.ref} was too small to hold out a test split",
            "name a suite: --suite FILE",
            code="no-items",
        )
    return make_suite(version.domain or version.name, examples["test"], examples["validation"])


def held_out(suite: Suite, named: str, version: Version, registry: Registry, host: Host) -> Suite:
    """A suite of the file `named` without the rows that a version was trained on; itself for any other file.

    What is asked is then the version's own test split, as far as it is in the suite. Where that is not known, or
    there is none, all rows stay, and what was trained on is told apart later.
    """
    if not _trained_on(version, named):
        return suite
    try:
        examples = examples_of(version, registry, host)
    except LftregError:
        return suite
    asked = {key_of(example) for example in examples["test"]}
    kept = [item.example for item in suite.items if key_of(item.example) in asked]
    if not kept or len(kept) == len(suite.items):
        return suite
    left_out = suite.trained_left_out + len(suite.items) - len(kept)
    return replace(make_suite(suite.name, kept, examples["validation"]), trained_left_out=left_out)


def _trained_on(version: Version, named: str) -> bool:
    """Whether a version was trained on the file of that name, alone or among others."""
    source = {} if version.run is None else version.run.settings.get("source") or {}
    wanted = parse_data(named)
    known = [parse_data(word) for word in source.get("data", ())]
    if wanted.path is None:
        return any(one.hub == wanted.hub for one in known if one.path is None)
    return any(
        one.path.expanduser().resolve() == wanted.path.expanduser().resolve() for one in known if one.path
    )


def _is_file(named: str) -> bool:
    path = Path(named)
    return named.startswith((".", "hub:")) or "/" in named or path.suffix.lower() in READERS


def some(suite: Suite, count: int) -> Suite:
    """At most `count` items of a suite, in its order: those of the smallest hashes, so the same ones each time."""
    if count >= len(suite.items):
        return suite
    keys = [hashlib.sha256(f"{item.prompt}\0{item.reference}".encode()).hexdigest() for item in suite.items]
    return at_places(suite, sorted(sorted(range(len(keys)), key=keys.__getitem__)[:count]))


def at_places(suite: Suite, places: Sequence[int]) -> Suite:
    """Some items of a suite, which are a suite of another digest."""
    return replace(suite, items=tuple(suite.items[place] for place in places))
