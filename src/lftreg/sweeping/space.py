"""What a sweep searches: training settings by their names, each with a list of values or a range.

lr = {low = 1e-4, high = 1e-2, log = true}
rank = [4, 8, 16, 32]
dropout = {low = 0.0, high = 0.2, step = 0.05}
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lftreg.errors import NotFound, UsageError, unknown
from lftreg.training import Settings
from lftreg.training.settings import settings_from

RANKS = (4, 8, 16, 32)
AROUND = 10.0  # how many times below and above the learning rate of the base's size is looked
# These decide how a base is held, or what luck a run has, and not what can be learned.
FIXED = ("seed", "plain", "dtype", "quantize", "gradient_checkpointing")
RANGE = ("low", "high", "log", "step")
EXAMPLE = "write lr = {low = 1e-4, high = 1e-2, log = true} or rank = [4, 8, 16]"
Value = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def as_dict(self) -> Any:
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `low` to `high`, both included; whole numbers where `whole`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def as_dict(self) -> Any:
        ends: dict[str, Any] = {"low": self.low, "high": self.high}
        return ends | ({"log": True} if self.log else {}) | ({"step": self.step} if self.step else {})


Dimension = Choice | Range


@dataclass(frozen=True, slots=True)
class Space:
    """Dimensions by the names of settings."""

    dimensions: Mapping[str, Dimension]

    def as_dict(self) -> dict[str, Any]:
        return {name: dimension.as_dict() for name, dimension in self.dimensions.items()}

    def holds(self, name: str, value: Any) -> bool:
        """Whether a value of a setting lies within."""
        dimension = self.dimensions[name]
        if isinstance(dimension, Choice):
            return value in dimension.values
        return value is not None and dimension.low <= value <= dimension.high


def read_space(path: Path) -> Space:
    """The space of a TOML file. Raises NotFound, and UsageError that names what is wrong in it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", EXAMPLE, code="no-space") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}", EXAMPLE, code="invalid-space") from error
    return make_space(told)


def make_space(told: Mapping[str, Any]) -> Space:
    """The space that a mapping tells of, as a TOML file would. Raises UsageError, NotFound for an unknown name."""
    if not told:
        raise _wrong("the search space is empty", EXAMPLE)
    kinds = {field.name: str(field.type).split(" ")[0] for field in fields(Settings)}
    dimensions = {}
    for name, given in told.items():
        if name not in kinds:
            known = [known for known in kinds if known not in FIXED]
            raise unknown("training setting", name, known, f"one of {', '.join(sorted(known))}")
        if name in FIXED:
            raise _wrong(f"{name} is not searched", "it is the same for all trials; give it as an option")
        dimensions[name] = _dimension(name, given, kinds[name])
    return Space(dimensions)


def default_space(lr: float, fixed: Mapping[str, Any]) -> Space:
    """Learning rate around that of the base's size, and rank; without what is `fixed`. Raises UsageError."""
    wanted: dict[str, Dimension] = {
        "lr": Range(lr / AROUND, min(lr * AROUND, 0.5), log=True),
        "rank": Choice(RANKS),
    }
    left = {name: dimension for name, dimension in wanted.items() if fixed.get(name) is None}
    if not left:
        raise _wrong(
            "learning rate and rank are both given: nothing is left to search", "leave one of them out"
        )
    return Space(left)


def check_fixed(space: Space, fixed: Mapping[str, Any]) -> None:
    """Nothing is both searched and given. Raises UsageError."""
    for name in space.dimensions:
        if fixed.get(name) is not None:
            raise _wrong(
                f"{name} is searched, and given as --{name.replace('_', '-')} {fixed[name]} too",
                "leave one of them out",
            )


def _dimension(name: str, given: Any, kind: str) -> Dimension:
    if isinstance(given, list | tuple):
        return _choice(name, list(given), kind)
    if isinstance(given, Mapping):
        return _range(name, given, kind)
    raise _wrong(f"{name} = {given!r} leaves nothing to search", EXAMPLE)


def _choice(name: str, given: list[Any], kind: str) -> Choice:
    if len(given) < 2:
        raise _wrong(f"{name} has fewer than two values to choose from", EXAMPLE)
    values = tuple(_value(name, value, kind) for value in given)
    if len(set(values)) < len(values):
        raise _wrong(f"{name} has a value twice", "name each once")
    return Choice(values)


def _range(name: str, given: Mapping[str, Any], kind: str) -> Range:
    if kind not in ("int", "float"):
        raise _wrong(f"{name} is no number, and has no range", "list its values: name = [..., ...]")
    strange = next((key for key in given if key not in RANGE), None)
    missing = next((key for key in RANGE[:2] if key not in given), None)
    if strange is not None or missing is not None:
        what = f"lacks {missing}" if strange is None else f"has {strange!r}, which no range has"
        raise _wrong(f"the range of {name} {what}", "it has low and high, and may have log or step")
    low, high = (_value(name, given[key], kind) for key in RANGE[:2])
    log, step = given.get("log", False), given.get("step")
    assert not isinstance(low, str) and not isinstance(high, str)
    if not low < high:
        raise _wrong(f"the range of {name} from {low:g} to {high:g} is empty", "low is less than high")
    if not isinstance(log, bool):
        raise _wrong(f"log = {log!r} of {name} is neither true nor false", EXAMPLE)
    if log and low <= 0:
        raise _wrong(f"the range of {name} begins at {low:g}, which has no logarithm", "begin above 0")
    if step is not None:
        if log:
            raise _wrong(f"the range of {name} has log and step", "leave one of them out")
        fits = isinstance(step, int | float) and not isinstance(step, bool) and 0 < step <= high - low
        if not fits or (kind == "int" and not isinstance(step, int)):
            raise _wrong(f"step = {step!r} of {name} makes no sense", f"give one up to {high - low:g}")
    return Range(low, high, log, step, kind == "int")


def _value(name: str, given: Any, kind: str) -> Value:
    """A value that the setting takes. Raises UsageError in the words of `Settings`."""
    takes: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "bool": (bool,),
        "str": (str,),
    }
    right = isinstance(given, takes[kind]) and (kind == "bool" or not isinstance(given, bool))
    if not right:
        words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
        raise _wrong(f"{name} takes {words[kind]}, and not {given!r}", EXAMPLE)
    value: Value = float(given) if kind == "float" else given
    settings_from({name: value})
    return value


def _wrong(message: str, hint: str) -> UsageError:
    return UsageError(message, hint, code="invalid-space")
