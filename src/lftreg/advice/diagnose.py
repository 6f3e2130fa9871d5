"""What is wrong with a run: a table of rules, the root causes first, each with what mends it.

A rule looks at the signals and gives a sentence with the figures, or nothing. The first one that speaks is the
diagnosis, since what stands above causes what stands below: a loss that is no number is also no improvement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lftreg.advice import ends, rules
from lftreg.advice.mending import changed, in_script
from lftreg.advice.signals import Signals

Severity = Literal["bad", "warn", "note"]
Mend = Mapping[str, Any] | str  # settings to change, or a command as it is


@dataclass(frozen=True, slots=True)
class Rule:
    """A diagnosis that can be made. `bad` is a run to throw away, `warn` one that could be better.

    After one that is `final` nothing else is asked: its figures mean nothing any more.
    """

    name: str
    severity: Severity
    look: Callable[[Signals], str | None]
    mend: Callable[[Signals], Mend]
    final: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a rule said, and the command that mends it; for another trainer, the arguments to change."""

    name: str
    severity: Severity
    message: str
    mend: str


RULES = (
    Rule("not-finite", "bad", ends.not_finite, ends.calmer, final=True),
    Rule("out-of-memory", "bad", ends.out_of_memory, ends.smaller),
    Rule("nothing-learned", "bad", ends.nothing_learned, ends.longer_rows, final=True),
    Rule("dead-adapter", "bad", ends.dead, ends.other_targets, final=True),
    Rule("never-stops", "bad", ends.never_stops, ends.look_at_rows),
    Rule("failed", "bad", ends.failed, ends.again),
    Rule("left-out", "warn", rules.left_out, rules.keep_rows),
    Rule("dropout-too-high", "warn", rules.too_much("dropout"), rules.reset("dropout")),
    Rule("noise-too-high", "warn", rules.too_much("neftune"), rules.reset("neftune")),
    Rule("scale-out-of-range", "bad", rules.scale_out_of_range, rules.reset("alpha")),
    Rule("diverged", "bad", rules.diverged, rules.lower_rate),
    Rule("lr-too-high", "bad", rules.rate_too_high, rules.lower_rate),
    Rule("warm-up-too-long", "warn", rules.warm_up_too_long, rules.shorter_warm_up),
    Rule("too-few-steps", "bad", rules.too_few_steps, rules.more_steps),
    Rule("lr-too-low", "bad", rules.rate_too_low, rules.higher_rate),
    Rule("interrupted", "warn", ends.interrupted, ends.resume),
    Rule("same-rows", "warn", rules.same_rows, rules.see_data),
    Rule("contradictions", "warn", rules.contradictions, rules.see_data),
    Rule("overfit", "warn", rules.overfit, rules.fewer_passes),
    Rule("partial-targets", "warn", rules.partial_targets, rules.reset("targets")),
    Rule("forgetting", "warn", rules.forgetting, rules.replay),
    Rule("no-improvement", "bad", rules.no_improvement, rules.see_data),
    Rule("cut-short", "warn", rules.cut_short, rules.more_steps),
    Rule("few-rows", "note", rules.few_rows, rules.see_data),
    Rule("memory-ran-out", "note", ends.memory_ran_out, ends.fewer_at_once),
    Rule("running", "note", ends.running, ends.wait),
)  # fmt: skip


def diagnose(signals: Signals) -> tuple[Diagnosis, ...]:
    """Everything that is wrong, the root cause first; none where a run is healthy."""
    found = []
    for rule in RULES:
        message = rule.look(signals)
        if message is None:
            continue
        found.append(Diagnosis(rule.name, rule.severity, message, _said(rule.mend(signals), signals)))
        if rule.final:
            break
    return tuple(found)


def is_healthy(found: tuple[Diagnosis, ...]) -> bool:
    """Whether nothing but notes was found."""
    return all(diagnosis.severity == "note" for diagnosis in found)


def _said(mend: Mend, signals: Signals) -> str:
    if isinstance(mend, str):
        return mend
    return in_script(mend) if signals.trainer == "transformers" else changed(signals.retry, mend)
