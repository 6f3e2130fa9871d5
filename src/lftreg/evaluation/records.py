"""An evaluation as it is kept, and as it is told to scripts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lftreg.models.libraries import libraries
from lftreg.registry import Registry, Score

if TYPE_CHECKING:
    from lftreg.evaluation.evaluate import Figure, Report, Result


def keep(report: Report, registry: Registry) -> list[Score]:
    """Store what everyone came to, each with the values of every item, all of them or none."""
    base = report.base_record
    versions = libraries(("sacrebleu", "rouge-score", "scipy"))
    found = [
        (
            Score(
                digest=one.digest,
                ref=one.version.ref if one.version else one.ref,
                base=base,
                suite=report.suite.name,
                suite_digest=report.suite.digest,
                decoding=report.asked.settings,
                decoding_digest=report.asked.digest,
                n=len(report.suite.items),
                metrics={name: summary(figure) for name, figure in one.figures.items()},
                libraries=versions,
                items="",
                at=datetime.now(UTC),
                facts=_facts(one, report),
            ),
            _rows(one, report),
        )
        for one in report.everyone
    ]
    return registry.scores.add(found)


def summary(figure: Figure) -> dict[str, Any]:
    """One metric for scripts: `value` is the speaker's own, `base` the bare base's, `delta` what lies between.

    `ci95` is the interval of the paired difference, `p` is adjusted for the number of adapters, `mde` the least
    difference that this many items would show four times in five. They are of all items; of those that training has
    not seen the same stands under `clean`, and where it has seen some only these name a `winner`.
    """
    told = {name: _difference(one) for name, one in figure.differences.items()}
    base = told.pop("base", None)
    return {
        "value": figure.value,
        "base": base and base["other"],
        "delta": base and base["delta"],
        "ci95": base and base["ci95"],
        "p": base and base["p"],
        "mde": base and base["mde"],
        "winner": (told.get("clean") or base or {}).get("winner"),
        "n": base["n"] if base else sum(value is not None for value in figure.measured.values),
        "better": figure.metric.better,
        "unit": figure.metric.unit,
        "measurable": figure.measured.measurable,
        "note": figure.measured.note or None,
        "signature": figure.measured.signature or None,
        "against": told.get("against"),
        "clean": told.get("clean"),
        "clean_against": told.get("clean_against"),
    }


def document(report: Report) -> list[dict[str, Any]]:
    """One object an adapter."""
    return [
        {
            "ref": one.ref,
            "base": report.base_record.id,
            "suite": report.suite.name,
            "suite_digest": report.suite.digest,
            "decoding": report.asked.settings,
            "decoding_digest": report.asked.digest,
            "n": len(report.suite.items),
            "against": report.against.ref if report.against else None,
            "against_same": report.against is not None and report.against.digest == one.digest,
            "metrics": {name: _as_asked_for(summary(figure)) for name, figure in one.figures.items()},
            "left_out": dict(report.left_out),
            **_facts(one, report),
        }
        for one in report.shown
    ]


def _as_asked_for(told: Mapping[str, Any]) -> dict[str, Any]:
    """A summary under the names that scripts know: the speaker's own value is `adapter`."""
    return {"base": told["base"], "adapter": told["value"]} | {
        key: value for key, value in told.items() if key not in ("base", "value")
    }


def _difference(one: Any) -> dict[str, Any]:
    return {
        "value": one.adapter,
        "other": one.base,
        "delta": one.delta,
        "ci95": None if one.ci95 is None else list(one.ci95),
        "p": one.adjusted,
        "mde": one.mde,
        "n": one.n,
        "winner": one.winner,
    }


def _facts(one: Result, report: Report) -> dict[str, Any]:
    """What is known beside the figures: items that training has seen, items that were too long or not asked."""
    found = one.contamination
    return {
        "contaminated": None if found is None else sorted(found.asked),
        "answers_trained_on": None if found is None else len(found.answered),
        "unknown_data": [] if found is None else list(found.unknown),
        "too_long": report.too_long,
        "trained_left_out": report.suite.trained_left_out,
    }


def _rows(one: Result, report: Report) -> list[dict[str, Any]]:
    """Each item: what was asked and said, and its value in every metric."""
    seen = one.contamination.asked if one.contamination else frozenset()
    return [
        {
            "prompt": item.prompt,
            "reference": item.reference,
            "answer": one.outputs.answers[place],
            "contaminated": place in seen,
            "scores": {name: figure.measured.values[place] for name, figure in one.figures.items()},
        }
        for place, item in enumerate(report.suite.items)
    ]
