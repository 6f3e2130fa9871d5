"""Which rows are trained on and which are held out, where a file does not say it itself.

A row's place follows from the hash of its prompt, so it never moves as the file grows, and equal prompts
stay on one side. A file too small for that has rows moved until nothing is empty; what was held out is
kept with the version, and stays held out when the adapter is trained again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from lftreg.errors import LftregError
from lftreg.plugins.types import Example, Split
from lftreg.registry import Registry, Version

SPLIT_FILE = "split.json"
VALIDATION, TEST = 0.1, 0.1
ENOUGH_FOR_TEST = 10  # different prompts; with fewer there is none to spare

Places = Mapping[str, Split]


def key_of(example: Example) -> str:
    """What a row is known by: 16 hexadecimal digits of the sha256 of its prompt.

    Of a conversation its first question counts: conversations are often stored turn by turn, each row going
    on from the one before, and belong together.
    """
    first = next((m.content for m in example.messages if m.role == "user"), example.prompt)
    return hashlib.sha256(first.encode()).hexdigest()[:16]


def chosen_by_hash(example: Example, share: float) -> bool:
    """Whether a row is in a share of all rows: it follows from the row alone, wherever it stands."""
    said = [
        [[m.role, m.content, [[c.name, c.arguments] for c in m.calls]] for m in example.messages],
        [example.text, example.label, example.tools],
    ]
    digest = hashlib.sha256(json.dumps(["share", *said]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def place_rows(keys: Sequence[str], remembered: Places) -> dict[str, Split]:
    """A split for every key. What is remembered stays; nothing but train may be empty where that can be."""
    places = {key: remembered.get(key) or _by_hash(key) for key in keys}
    wanted: list[tuple[Split, int]] = [("validation", 2), ("test", ENOUGH_FOR_TEST)]
    for split, enough in wanted:
        free = sorted(key for key, place in places.items() if place == "train" and key not in remembered)
        if split not in places.values() and len(places) >= enough and len(free) > 1:
            places[free[0]] = split
    return places


def split_record(places: Places) -> bytes:
    """What is kept of a split: the keys that are held out."""
    held_out = {
        name: sorted(k for k, place in places.items() if place == name) for name in ("validation", "test")
    }
    return (json.dumps({"by": "sha256 of the prompt", **held_out}, indent=1) + "\n").encode()


def remembered_split(registry: Registry, name: str) -> tuple[dict[str, Split], Version | None]:
    """What the newest version of an adapter that was trained on files held out."""
    try:
        versions = registry.list(name=registry.check_name(name), all_versions=True)
        found = (v for v in versions if any(file.name == SPLIT_FILE for file in v.files))
        version = next(found, None)
        if version is None:
            return {}, None
        record = json.loads(registry.read(version, SPLIT_FILE))
    except LftregError:
        return {}, None
    places: dict[str, Split] = dict.fromkeys(record["validation"], "validation")
    return places | dict.fromkeys(record["test"], "test"), version


def _by_hash(key: str) -> Split:
    place = int(key, 16) / 16 ** len(key)
    return "validation" if place < VALIDATION else "test" if place < VALIDATION + TEST else "train"
