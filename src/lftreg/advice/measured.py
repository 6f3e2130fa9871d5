"""What `lftreg compare` measured, read from the file that it wrote, and what that decides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lftreg.advice.judge import Verdict
from lftreg.errors import InvalidData, NotFound, StorageError, Unavailable
from lftreg.evaluation.statistics import ENOUGH, compare
from lftreg.plugins.types import Measured

CEILING = 0.1  # of quality: so much above search the right passage has to be for search to be what fails
ORACLE = "oracle"
ARMS: Mapping[str, Verdict] = {
    "base": "prompting",
    "few_shot": "prompting",
    "adapter": "fine-tune",
    "rag": "rag",
    "adapter_rag": "hybrid",
}
WORDS = {
    "base": "the bare base",
    "few_shot": "the base with examples",
    "adapter": "the adapter",
    "rag": "the base with search",
    "adapter_rag": "the adapter with search",
    ORACLE: "the base with the right passage",
}
LARGEST = 1e15  # no figure of a comparison is larger; an integer of JSON may be more than a float holds
HINT = "give what `lftreg compare --output FILE` wrote"

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer, as it was measured over n questions. `delta` is its paired difference to the base."""

    name: str
    n: int
    quality: float
    ci95: Interval | None = None
    delta: float | None = None
    delta_ci95: Interval | None = None
    cost_per_1000: float | None = None
    recall: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison. `items` holds the quality of every arm for each question, where the file tells it.

    `limited` says whether fewer questions were asked than the data has.
    """

    ref: str | None
    data: str
    docs: str
    base: str
    metric: str
    arms: Mapping[str, Arm]
    break_even: Mapping[str, float | None]
    items: Sequence[Mapping[str, float]] = ()
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """By how much one arm is better than another, with an interval of 95%.

    `paired` says whether that is of the differences item by item; else it is bounded by the two arms' intervals
    against the base, and wider than a paired one.
    """

    one: str
    other: str
    by: float
    ci95: Interval | None
    paired: bool

    @property
    def decisive(self) -> bool:
        return self.ci95 is not None and self.ci95[0] > 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a comparison comes to. `verdict` is that of the best arm, or None where it is not `decisive`; `why` says so.

    `ceiling` is how far the right passage is above search, where that is CEILING or more, and no chance. `beyond_base`
    names the arms that are better than the base by more than chance.
    """

    comparison: Comparison
    best: Arm
    verdict: Verdict | None
    over_base: Gap | None
    over_next: Gap | None
    why: str
    ceiling: Gap | None
    beyond_base: tuple[str, ...] = ()

    @property
    def decisive(self) -> bool:
        return self.verdict is not None

    @property
    def exhausted(self) -> bool:
        """Whether all questions that the data has were asked, and are too few to decide by."""
        return not self.comparison.limited and self.best.n < ENOUGH


def read_comparison(path: Path) -> Comparison:
    """The comparison of a file. Raises NotFound, StorageError, or InvalidData (`invalid-comparison`)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"no comparison at {path}", HINT) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"is not JSON: {error}") from error
    try:
        return _comparison(value)
    except _Flaw as error:
        raise _invalid(path, str(error)) from error


def _invalid(path: Path, what: str) -> InvalidData:
    return InvalidData(f"{path} {what}", HINT, code="invalid-comparison")


class _Flaw(Exception):
    """What is wrong with a document."""


def _comparison(value: Any) -> Comparison:
    if not isinstance(value, dict) or not isinstance(value.get("arms"), dict):
        raise _Flaw("is no comparison: it has no arms")
    arms = {
        name: _arm(name, arm, value.get("n"))
        for name, arm in value["arms"].items()
        if name in WORDS and arm is not None
    }
    if not ARMS.keys() & arms.keys():
        raise _Flaw(f"has none of the arms {', '.join(ARMS)}")
    told, settings = value.get("break_even"), value.get("settings")
    return Comparison(
        ref=value["ref"] if isinstance(value.get("ref"), str) else None,
        data=str(value.get("data") or "FILE"),
        docs=str(value.get("docs") or "FOLDER"),
        base=str(value.get("base") or ""),
        metric=str(value.get("metric") or "quality"),
        arms=arms,
        break_even={name: _number(count, f"break_even.{name}") for name, count in told.items()}
        if isinstance(told, dict)
        else {},
        items=_items(value.get("items"), arms),
        limited=isinstance(settings, dict) and settings.get("limit") is not None,
    )


def _arm(name: str, value: Any, asked: Any) -> Arm:
    place = f"arms.{name}"
    if not isinstance(value, dict):
        raise _Flaw(f"has {place} that is no object")
    quality, n = _number(value.get("quality"), f"{place}.quality"), value.get("n", asked)
    if quality is None:
        raise _Flaw(f"lacks {place}.quality")
    if type(n) is not int or n < 1:
        raise _Flaw(f"lacks a whole number as {place}.n")
    recall = value.get("recall_at_k")
    return Arm(
        name, n, quality,
        _interval(value.get("ci95"), f"{place}.ci95"),
        _number(value.get("delta"), f"{place}.delta"),
        _interval(value.get("delta_ci95"), f"{place}.delta_ci95"),
        _number(value.get("cost_per_1000"), f"{place}.cost_per_1000"),
        {k: share for k, share in recall.items() if isinstance(share, int | float)} if isinstance(recall, dict) else {},
    )  # fmt: skip


def _number(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise _Flaw(f"has {value!r} as {place}, which is no number")
    return float(value)


def _interval(value: Any, place: str) -> Interval | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise _Flaw(f"has {place} that is no pair of numbers")
    low, high = (_number(end, place) for end in value)
    if low is None or high is None:
        return None
    if low > high:
        raise _Flaw(f"has {place} that ends before it begins")
    return low, high


def _items(value: Any, arms: Mapping[str, Arm]) -> list[dict[str, float]]:
    """The quality of each arm by question; what is not told that way is left out."""
    told = [item["quality"] for item in value if isinstance(item, dict) and isinstance(item.get("quality"), dict)] \
        if isinstance(value, list) else []  # fmt: skip
    return [
        {
            arm: float(one)
            for arm, one in item.items()
            if arm in arms and type(one) in (int, float) and abs(one) <= LARGEST
        }
        for item in told
    ]


def find(comparison: Comparison) -> Finding:
    """What a comparison decides: the arm of the best quality, if it is more than chance that it is.

    It has to be better than the base, and than the next of the arms that would be another verdict, both over
    ENOUGH questions or more. The oracle is no choice: it is what a perfect search would be worth.
    """
    choices = sorted(
        (comparison.arms[name] for name in ARMS if name in comparison.arms), key=lambda arm: -arm.quality
    )
    best = choices[0]
    rivals = [arm for arm in choices if ARMS[arm.name] != ARMS[best.name]]
    over_next = gap(comparison, best, rivals[0]) if rivals else None
    base = comparison.arms.get("base")
    over_base = gap(comparison, best, base) if base is not None and base is not best else None
    why = _doubt(best, rivals, over_base, over_next, has_base=base is not None)
    return Finding(
        comparison, best, None if why else ARMS[best.name], over_base, over_next, why, _ceiling(comparison),
        () if base is None else _beyond(comparison, choices, base),
    )  # fmt: skip


def _beyond(comparison: Comparison, arms: Sequence[Arm], base: Arm) -> tuple[str, ...]:
    others = [arm for arm in arms if arm.n >= ENOUGH and arm is not base]
    return tuple(arm.name for arm in others if gap(comparison, arm, base).decisive)


def _doubt(
    best: Arm, rivals: Sequence[Arm], over_base: Gap | None, over_next: Gap | None, *, has_base: bool
) -> str:
    """Why a comparison does not decide, or "" where it does."""
    if not rivals or over_next is None:
        return f"only one way was measured, {WORDS[best.name]}"
    fewest = min([best, rivals[0]], key=lambda arm: arm.n)
    if fewest.n < ENOUGH:
        return f"{fewest.n} questions are too few to decide by; it takes {ENOUGH}"
    if not has_base:
        return "the bare base was not measured, to which all are compared"
    for found in (over_base, over_next):
        # The base and the base with examples are one verdict; the difference between them decides nothing.
        if found is not None and ARMS[found.other] != ARMS[best.name] and not found.decisive:
            return (
                f"{WORDS[found.one]} and {WORDS[found.other]} cannot be told apart: {interval_words(found)}"
            )
    return ""


def interval_words(found: Gap) -> str:
    """The difference and its interval, in words."""
    if found.ci95 is None:
        return f"{found.by:+.3f}, of no known interval"
    kind = "" if found.paired else ", bounded by their intervals against the base"
    return f"{found.by:+.3f} (95%: {found.ci95[0]:+.3f} to {found.ci95[1]:+.3f}{kind})"


def gap(comparison: Comparison, one: Arm, other: Arm) -> Gap:
    """By how much `one` is better: as `compare` told it, or by its statistics item by item, else a bound.

    Both differences to the base hold the base's own chance, so the difference of the two is bounded by the far ends
    of their intervals; whatever the arms have in common only makes it narrower.
    """
    first, second = _against_base(one), _against_base(other)
    paired = "base" in (one.name, other.name)
    if not (paired and first and second) and (found := _paired(comparison, one.name, other.name)) is not None:
        return found
    by = one.quality - other.quality
    if first is None or second is None:
        return Gap(one.name, other.name, by, None, False)
    return Gap(one.name, other.name, by, (first[0] - second[1], first[1] - second[0]), paired)


def _paired(comparison: Comparison, one: str, other: str) -> Gap | None:
    """The paired difference on the questions that the file tells of both; None where they are too few.

    Without the extra `eval` there is none either, and what is left is wider, so that it decides less.
    """
    both = [item for item in comparison.items if one in item and other in item]
    if len(both) < ENOUGH:
        return None
    try:
        found = compare(Measured(tuple(i[other] for i in both)), Measured(tuple(i[one] for i in both)))
    except Unavailable:
        return None
    return None if found.delta is None else Gap(one, other, found.delta, found.ci95, True)


def _against_base(arm: Arm) -> Interval | None:
    return (0.0, 0.0) if arm.name == "base" else arm.delta_ci95


def _ceiling(comparison: Comparison) -> Gap | None:
    oracle, rag = comparison.arms.get(ORACLE), comparison.arms.get("rag")
    if oracle is None or rag is None:
        return None
    found = gap(comparison, oracle, rag)
    large = found.by >= CEILING and min(oracle.n, rag.n) >= ENOUGH
    return found if large and found.decisive else None
