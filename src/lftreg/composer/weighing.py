"""Weights that differ from layer to layer: rules of a file or a preset, on top of the weights of the parents.

    [support]                       # a parent: its name or REF as typed, its place (1, 2, ...), or "*" for all
    "self_attn" = 1.0               # what its weight is multiplied by in every layer whose path has this part
    "layers.0-7" = 0.5              # a range of indices
    "layers.*.mlp|ffn" = 0          # a star is any one part, a bar divides names of which either will do
    "layers" = [1.0, 0.0]           # a gradient: from the first index that the base has there to the last

The last rule of a table that matches a layer decides; a layer that none matches keeps the weight.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData, NotFound, StorageError, UsageError

Rule = float | tuple[float, ...]
Rules = Mapping[str, Rule]
PRESETS = Path(__file__).with_name("presets")
_RANGE = re.compile(r"(\d+)-(\d+)")
_PART = re.compile(r"\*|[\w|-]+")


@dataclass(frozen=True, slots=True)
class Table:
    """The rules for one parent, and what it was called."""

    parent: str
    rules: Rules


def presets() -> dict[str, str]:
    """Every preset, and the sentence at its top."""
    files = sorted(PRESETS.glob("*.toml"))
    return {f.stem: f.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for f in files}


def read_weights(source: str | Path | Mapping[str, Any]) -> tuple[Table, ...]:
    """The tables of a file, of a preset, or of a mapping of the same form.

    Raises NotFound for a file that is not there, InvalidData for one that holds something else.
    """
    if isinstance(source, Mapping):
        return _tables(source, "the weights")
    path = Path(source)
    if str(source) in presets():
        path = PRESETS / f"{source}.toml"
    elif not path.is_file():
        raise NotFound(
            f"there is no file {str(source)!r} with weights, and no preset of that name",
            f"presets: {', '.join(presets())}",
            code="no-weights",
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    except ValueError as error:
        raise InvalidData(f"{path} is not TOML: {error}", _HINT, code="weights-file") from error
    return _tables(content, path.name)


_HINT = 'write a table a parent: [support], and rules such as "layers.0-7" = 0.5'


def _tables(content: Mapping[str, Any], where: str) -> tuple[Table, ...]:
    tables = []
    for parent, rules in content.items():
        tables.append(Table(str(parent), rules_of(rules, f"{parent} in {where}")))
    if not any(table.rules for table in tables):
        raise InvalidData(f"{where} holds no rule", _HINT, code="weights-file")
    return tuple(tables)


def rules_of(rules: Any, where: str) -> Rules:
    """The rules for one parent. Raises InvalidData for anything else."""
    if not isinstance(rules, Mapping):
        raise InvalidData(f"{where} is no table of rules", _HINT, code="weights-file")
    return {str(pattern): _rule(str(pattern), value, where) for pattern, value in rules.items()}


def _rule(pattern: str, value: Any, where: str) -> Rule:
    if not all(_PART.fullmatch(part) for part in pattern.split(".")):
        raise InvalidData(
            f"{pattern!r} in {where} is no pattern of layers",
            'parts with dots between: "mlp", "layers.0-7", "layers.*.self_attn"',
            code="weights-file",
        )
    numbers = value if isinstance(value, list | tuple) else [value]
    good = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
    if not good or not numbers or (isinstance(value, list | tuple) and len(value) < 2):
        raise InvalidData(
            f"{pattern} in {where} is {value!r:.60}",
            "give a number, or a list of two or more to pass through",
            code="weights-file",
        )
    return tuple(float(n) for n in value) if isinstance(value, list | tuple) else float(value)


def rules_for(tables: Sequence[Table], names: Sequence[tuple[str, str]]) -> list[dict[str, Rule]]:
    """The rules of every parent. `names` are (name, ref) of each, in the user's order.

    Raises UsageError for a table that is about none of them.
    """
    found: list[dict[str, Rule]] = [{} for _ in names]
    for table in tables:
        holders = [at for at, pair in enumerate(names) if table.parent in ("*", str(at + 1), *pair)]
        if not holders:
            raise UsageError(
                f"the weights speak of {table.parent!r}, and no parent has that name, REF or place",
                f"parents: {', '.join(f'{at} {ref}' for at, (_, ref) in enumerate(names, start=1))}",
                code="weights-parent",
            )
        named = [at for at in holders if table.parent in names[at]]
        if table.parent.isdecimal() and named and named != holders:
            raise UsageError(
                f"the weights speak of {table.parent!r}, which is the name of one parent and the place of another",
                f"write its REF: {names[named[0]][1]}",
                code="weights-parent",
            )
        for at in holders:
            for pattern, rule in table.rules.items():
                found[at].pop(pattern, None)  # what is said again is said last
                found[at][pattern] = rule
    return found


def layer_factors(rules: Rules, paths: Iterable[str]) -> dict[str, float]:
    """What a parent's weight is multiplied by in each layer.

    Raises UsageError for a rule that matches no layer at all: it would be lost without a word.
    """
    split = {path: path.split(".") for path in paths}
    factors = dict.fromkeys(split, 1.0)
    for pattern, rule in rules.items():
        wanted = pattern.split(".")
        matched = {path: at for path, parts in split.items() if (at := _place(wanted, parts)) is not None}
        if not matched:
            raise UsageError(
                f"{pattern!r} matches no layer of the parents",
                f"such as {next(iter(split), 'none')}",
                code="weights-pattern",
            )
        if isinstance(rule, float):
            factors.update(dict.fromkeys(matched, rule))
            continue
        indices = {path: _index(split[path][at:]) for path, at in matched.items()}
        known = [index for index in indices.values() if index is not None]
        if not known:
            raise UsageError(
                f"{pattern!r} has a gradient, and its layers have no index",
                f'"layers" = {list(rule)} runs over all of them',
                code="weights-pattern",
            )
        first, last = min(known), max(known)
        for path, index in indices.items():
            if index is not None:
                factors[path] = _between(rule, (index - first) / max(1, last - first))
    return factors


def _place(wanted: Sequence[str], parts: Sequence[str]) -> int | None:
    """Where a run of parts begins in a path."""
    for at in range(len(parts) - len(wanted) + 1):
        if all(_fits(one, part) for one, part in zip(wanted, parts[at:], strict=False)):
            return at
    return None


def _fits(wanted: str, part: str) -> bool:
    span = _RANGE.fullmatch(wanted)
    if span and part.isdecimal():
        return int(span[1]) <= int(part) <= int(span[2])
    return wanted == "*" or part in wanted.split("|")


def _index(parts: Sequence[str]) -> int | None:
    return next((int(part) for part in parts if part.isdecimal()), None)


def _between(stops: Sequence[float], share: float) -> float:
    """A value on the line through evenly spaced stops."""
    at = share * (len(stops) - 1)
    left = min(int(at), len(stops) - 2)
    return stops[left] + (at - left) * (stops[left + 1] - stops[left])
