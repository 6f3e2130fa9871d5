"""What `lftreg doctor` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lftreg.cli.output import clean, wrapped
from lftreg.cli.tables import print_fields

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.advice.diagnose import Diagnosis
    from lftreg.advice.signals import Signals
    from lftreg.cli.installation import Finding

NO_NUMBER = "no number"
STYLES = {
    "ok": ("✓", "green"),
    "note": ("·", "dim"),
    "warn": ("!", "bold yellow"),
    "bad": ("✗", "bold red"),
}


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """A line for each finding, and what to type under those that lack something."""
    margin = max(len(finding.subject) for finding in findings) + 2
    for finding in findings:
        hint = finding.hint if finding.status == "note" else None  # of what is bad the error says it
        _print_marked(console, finding.status, finding.subject, finding.detail, hint, margin)


def print_diagnoses(signals: Signals, found: Sequence[Diagnosis], healthy: bool, console: Console) -> None:
    """What was looked at, and what is wrong with it, the root cause first."""
    print_fields(console, _looked_at(signals))
    console.print()
    if healthy:
        _print_marked(console, "ok", "healthy", _praise(signals), None, len("healthy") + 2)
    margin = max((len(diagnosis.name) for diagnosis in found), default=0) + 2
    for diagnosis in found:
        _print_marked(console, diagnosis.severity, diagnosis.name, diagnosis.message, diagnosis.mend, margin)


def _looked_at(signals: Signals) -> dict[str, str | None]:
    of = f" of {signals.planned}" if signals.planned and signals.planned != signals.steps else ""
    passes = "" if signals.passes is None else f", {signals.passes:.1f} passes"
    best = signals.best
    hidden = " (logged as 0)" if any(point.hidden for point in signals.points) else ""
    return {
        "run": signals.run,
        "version": signals.ref,
        "status": f"{signals.status}, {signals.steps}{of} steps{passes}",
        "loss": f"{_number(signals.first)} -> {_number(signals.last)}{hidden}" if signals.points else None,
        "validation": f"{_number(signals.checks[0].loss)} -> {_number(best.loss)} (best, step {best.step}), "
        f"{_number(signals.checks[-1].loss)} at the end"
        if best is not None
        else NO_NUMBER
        if signals.checks
        else None,
        "tokens right": _change(
            [c.right for c in signals.checks] or [p.right for p in signals.points], "{:.1%}"
        ),
        "entropy": _change(
            [c.entropy for c in signals.checks] or [p.entropy for p in signals.points], "{:.2f}"
        ),
        "gradient norm": _norms(signals),
        "speed": f"{signals.tokens / signals.seconds:,.0f} tokens/s"
        if signals.tokens and signals.seconds
        else None,
    }


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else NO_NUMBER


def _norms(signals: Signals) -> str | None:
    """The norms that are numbers, and whether there were others."""
    known = [norm for norm in signals.norms if math.isfinite(norm)]
    if not signals.norms or not known:
        return NO_NUMBER if signals.norms else None
    lost = len(signals.norms) - len(known)
    return f"{min(known):.2g} to {max(known):.2g}" + (
        f", {NO_NUMBER} in {lost} of {len(signals.norms)} lines" if lost else ""
    )


def _change(values: Sequence[float | None], shown: str) -> str | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return f"{shown} -> {shown}".format(known[0], known[-1]) if len(known) > 1 else None


def _praise(signals: Signals) -> str:
    """Why it is healthy, by what could be looked at."""
    said = ["every loss and gradient is a number"] if signals.norms else ["every loss is a number"]
    if signals.over and signals.points:
        said.append(f"the loss fell by {signals.drop:.0%}")
    if signals.best is not None and signals.best.step > signals.checks[0].step:
        said.append("validation fell with it")
    return ", ".join(said)


def _print_marked(
    console: Console, status: str, subject: str, detail: str, hint: str | None, margin: int
) -> None:
    from rich.text import Text

    mark, style = STYLES[status]
    indent = f"\n{'':{margin + 2}}"
    body = indent.join(wrapped(clean(detail), console.width - margin - 2))
    line = Text.assemble((f"{mark} ", style), (f"{subject:{margin}}", "dim"), body)
    if hint:
        line.append(f"{indent}{clean(hint)}", "bold")
    console.print(line, soft_wrap=True)
