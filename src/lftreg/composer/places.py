"""Where a layer stands in its base: which block, and which module of it. Tables and pictures are laid out by this.

The first number of a path is its block, and what follows is the module: `model.layers.3.self_attn.q_proj` is
`q_proj` in row 3. Later numbers, such as those of experts, are one module: a place may hold several layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# The order in which a block computes them, as far as families have these names; others follow by the alphabet.
_ORDER = (
    "c_attn", "c_fc", "c_proj", "qkv_proj", "query_key_value", "q_proj", "k_proj", "v_proj", "o_proj", "q", "k", "v",
    "o", "query", "key", "value", "out_proj", "dense", "gate_up_proj", "gate_proj", "up_proj", "down_proj",
    "dense_h_to_4h", "dense_4h_to_h", "fc1", "fc2",
)  # fmt: skip
_AFTER_ATTENTION = ("mlp", "ffn", "feed_forward", "DenseReluDense", "moe")


@dataclass(frozen=True, slots=True)
class Places:
    """A grid of all layers. `at` maps a path to (row, column); a column of None takes the whole row."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    at: Mapping[str, tuple[int, int | None]]

    def cells(self) -> dict[tuple[int, int | None], list[str]]:
        """The paths of every place that has any."""
        found: dict[tuple[int, int | None], list[str]] = {}
        for path, place in self.at.items():
            found.setdefault(place, []).append(path)
        return found

    def kind(self, path: str) -> str:
        """The module that a path is one of."""
        row, column = self.at[path]
        return self.rows[row] if column is None else self.columns[column]

    def rank(self, path: str) -> tuple[int, int, str]:
        """What to sort paths by, so that block 9 comes before block 10."""
        row, column = self.at[path]
        return row, column or 0, path

    def short(self, path: str) -> str:
        """A few words for a path: `3 q_proj`."""
        row, column = self.at[path]
        return self.rows[row] if column is None else f"{self.rows[row]} {self.columns[column]}"


def places(paths: Iterable[str]) -> Places:
    """The grid of some layers: a row for each block and each module that is in none."""
    split = {path: _split(path) for path in sorted(paths)}
    stems = _shortened_stems([stem for stem, index, _ in split.values() if index is not None])
    kinds = _suffixes({kind for _, index, kind in split.values() if index is not None})
    columns = [kinds[kind] for kind in sorted(kinds, key=_by_order)]
    alone = [path for path, (_, index, _) in split.items() if index is None]
    names = _suffixes(set(alone))
    blocks = sorted(
        {(stem, index) for stem, index, _ in split.values() if index is not None},
        key=lambda block: (block[0].startswith("decoder"), *block),  # an encoder comes before it
    )
    rows = [f"{stems[stem]} {index}".strip() for stem, index in blocks]
    at: dict[str, tuple[int, int | None]] = {}
    for path, (stem, index, kind) in split.items():
        if index is None:
            at[path] = (len(rows) + alone.index(path), None)
        else:
            at[path] = (blocks.index((stem, index)), columns.index(kinds[kind]))
    return Places((*rows, *(names[path] for path in alone)), tuple(columns), at)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def root(squares: Iterable[float], of: Iterable[float]) -> float | None:
    """The root of a sum of squares, relative to another; None where that is zero."""
    whole = math.fsum(of)
    return math.sqrt(math.fsum(squares) / whole) if whole else None


def _split(path: str) -> tuple[str, int | None, str]:
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    if at is None:
        return "", None, path
    rest = ["*" if part.isdecimal() else part for part in parts[at + 1 :]]
    # A list of bare modules has its name before the number: `blocks.3` is a module called blocks.
    return ".".join(parts[:at]), int(parts[at]), ".".join(rest) or parts[at - 1]


def _suffixes(names: set[str]) -> dict[str, str]:
    """Every name by as few of its last parts as tell it from the others."""
    split = {name: name.split(".") for name in names}
    made = {}
    for name, parts in split.items():
        others = [other for other in split.values() if other is not parts]
        length = next(
            (n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others)),
            len(parts),
        )
        made[name] = ".".join(parts[-length:])
    return made


def _shortened_stems(stems: Sequence[str]) -> dict[str, str]:
    """What tells towers of blocks apart: `encoder.block` and `decoder.block` are encoder and decoder."""
    split = {stem: stem.split(".") for stem in dict.fromkeys(stems)}
    if len(split) < 2:
        return dict.fromkeys(split, "")
    lists = list(split.values())
    least = min(map(len, lists))
    head = next((i for i in range(least) if len({one[i] for one in lists}) > 1), least)
    tail = next((i for i in range(least - head) if len({one[-1 - i] for one in lists}) > 1), least - head)
    return {
        stem: ".".join(parts[head : len(parts) - tail]) or parts[-1] if parts != [""] else ""
        for stem, parts in split.items()
    }


def _by_order(kind: str) -> tuple[bool, str, int, str]:
    part, _, last = kind.rpartition(".")
    later = any(name in kind for name in _AFTER_ATTENTION)
    return later, part, _ORDER.index(last) if last in _ORDER else len(_ORDER), last
