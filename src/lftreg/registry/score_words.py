"""Kept scores in words: which of them say most, and what their figures may not be taken for.

What `lftreg eval` warns of when it measures, `show` and the model card of an export warn of as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lftreg.plugins.types import ENOUGH
from lftreg.registry.records import Score

# Notes that a figure is never told without: how well a judge judges, and why code failed.
TELLING = ("AUC", "not a security sandbox")
EXAMPLES = 3  # differences that are told in a sentence

Summary = Mapping[str, Any]


def most_telling(scores: Sequence[Score]) -> tuple[list[Score], list[Score]]:
    """Scores of one content that bear a table, those with the most items and metrics first, and smaller trials.

    Trials are those under `ENOUGH` items; where nothing is larger, all but the largest. Of equals the first given
    comes first.
    """
    ordered = sorted(scores, key=lambda score: (-score.n, -sum(map(_measurable, score.metrics.values()))))
    large = sum(score.n >= ENOUGH for score in ordered) or min(1, len(ordered))
    return ordered[:large], ordered[large:]


def trials(count: int) -> str:
    """How many scores are too small to be shown, as the subject of a sentence; "" for none."""
    return (
        "" if not count else f"{count} smaller {'trial' if count == 1 else 'trials'} of under {ENOUGH} items"
    )


def decoding(settings: Mapping[str, Any]) -> str:
    """How answers were made, in a few words."""
    how = "greedy" if not settings["temperature"] else f"temperature {settings['temperature']:g}"
    samples = f", {settings['samples']} samples" if settings.get("samples") else ""
    quantized = f", base in {settings['quantize']}" if settings.get("quantize") else ""
    return f"{how}, up to {settings['max_tokens']} tokens{samples}{quantized}"


def figure(value: float | None, unit: str, *, signed: bool = False) -> str:
    """A figure in its unit: a share as a percentage, points with one digit, a number with four."""
    if value is None:
        return ""
    sign = "+" if signed else ""
    if unit == "share":
        return f"{100 * value:{sign}.1f}%"
    if unit == "points":
        return f"{value:{sign}.1f}"
    return f"{value:{sign}.4g}"


def interval(ends: Sequence[float] | None, unit: str) -> str:
    return "" if ends is None else " to ".join(figure(end, unit, signed=True) for end in ends)


def headline(one: Summary, against: bool = False) -> Summary | None:
    """The difference that is told of a metric: without the items that training has seen, where there are others.

    Its keys are `other`, `value`, `delta`, `ci95`, `p`, `mde`, `winner`. None where there is no difference.
    """
    if against:
        return one.get("clean_against") or one.get("against")
    if one.get("clean"):
        found: Summary = one["clean"]
        return found
    if one["delta"] is None:
        return None
    return {"other": one["base"], "value": own(one), **one}


def own(one: Summary) -> float | None:
    """What a speaker came to over all items, in a kept score or in a document."""
    value: float | None = one["adapter"] if "adapter" in one else one["value"]
    return value


def remarks(
    n: int, metrics: Mapping[str, Summary], facts: Mapping[str, Any], *, whole: bool = False
) -> list[str]:
    """What the figures of a score over n items may not be taken for. `whole` tells every metric's note."""
    lines = [f"{name}: {one['note']}" for name, one in metrics.items() if not one["measurable"]]
    seen = len(facts.get("contaminated") or ())
    lines += _too_few(n, seen) + _trained_on(n, seen, metrics)
    if facts.get("answers_trained_on"):
        lines.append(f"answers that stand in the training data: {facts['answers_trained_on']} of {n}")
    lines += [f"training data not known: {one}" for one in facts.get("unknown_data") or ()]
    if facts.get("trained_left_out"):
        lines.append(f"rows of the file that were trained on, and so not asked: {facts['trained_left_out']}")
    if facts.get("too_long"):
        lines.append(f"{facts['too_long']} items do not fit the base and were left out")
    told = [f"{name}: {one['note']}" for name, one in metrics.items() if one["measurable"] and one["note"]]
    return lines + [line for line in told if whole or any(word in line for word in TELLING)]


def _too_few(n: int, seen: int) -> list[str]:
    rest = n - seen
    if rest >= ENOUGH or not rest:
        return []
    which = f"{rest} items are" if not seen else f"{rest} items that were not trained on are"
    return [f"{which} too few to name a winner: {ENOUGH} or more are needed"]


def _trained_on(n: int, seen: int, metrics: Mapping[str, Summary]) -> list[str]:
    """How many questions training has seen, and what the differences are with them."""
    if not seen:
        return []
    line = f"questions that were trained on: {seen} of {n}"
    if seen == n:
        return [f"{line}; what is measured is memory, and nobody is called the winner"]
    told = [
        f"{name} {figure(one['delta'], one['unit'], signed=True)}"
        for name, one in metrics.items()
        if one.get("clean") and one["delta"] is not None
    ]
    more = ", …" if len(told) > EXAMPLES else ""
    rest = f"; with them it is {', '.join(told[:EXAMPLES])}{more}" if told else ""
    return [f"{line}, left out of every difference above{rest}"]


def _measurable(one: Summary) -> bool:
    return bool(one["measurable"])
