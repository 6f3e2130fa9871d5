"""One evaluation: base and adapters answer the same items, and every metric is compared item by item."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lftreg.errors import InvalidData, UsageError
from lftreg.evaluation.contamination import Contamination, find_contamination
from lftreg.evaluation.extras import check_extras
from lftreg.evaluation.hearing import Heard, base_of, hear
from lftreg.evaluation.metrics.code import FORBIDDEN, RUNS_CODE
from lftreg.evaluation.statistics import Difference, adjust, bounded, compare
from lftreg.evaluation.suite import Suite
from lftreg.models.answers import Decoding
from lftreg.plugins.host import Host
from lftreg.plugins.types import Input, Measured, Metric, Outputs
from lftreg.registry import Base, Registry, Version

MOST = {"share": 1.0, "points": 100.0}  # what figures of a unit can differ by
DICE = "seed and row"  # how draws are seeded: what was drawn otherwise is no score of the same decoding
OnProgress = Callable[[str, int, int], None]  # who speaks and what, how much so far, of how much


@dataclass(frozen=True, slots=True)
class Asked:
    """How a suite is asked.

    `samples` answers to each item are drawn at `temperature` beside the greedy one. `metrics` are names, None
    for all that the suite has the inputs of. `against` is a REF to compare with beside the base.
    """

    decoding: Decoding = field(default_factory=Decoding)
    metrics: tuple[str, ...] | None = None
    against: str | None = None
    samples: int = 0
    temperature: float = 0.8
    allow_code_execution: bool = False
    quantize: str | None = None
    trust_code: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that an answer depends on beside its prompt. A seed counts where something is drawn."""
        decoding = self.decoding
        drawn = decoding.temperature > 0 or self.samples > 0
        told = {
            "max_tokens": decoding.max_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p if decoding.temperature > 0 else 1.0,
            "samples": self.samples,
            "sample_temperature": self.temperature if self.samples else None,
            "seed": decoding.seed if drawn else None,
            "quantize": self.quantize,
        }
        return told | {"dice": DICE} if drawn else told

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one adapter, or of the base itself, which has no differences.

    `differences` are the paired ones, by what they are to: `base`, the REF that was compared `against`, and
    `clean` and `clean_against`, the same on those items whose question training did not see. Each `p` is adjusted
    for the number of adapters.
    """

    metric: Metric
    measured: Measured
    value: float | None
    differences: Mapping[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What one speaker came to."""

    ref: str
    digest: str
    version: Version | None
    outputs: Outputs
    figures: Mapping[str, Figure]
    contamination: Contamination | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation as a whole.

    `base` is what the bare base came to; None where it cannot do the task, as with a classifier's. `left_out` says
    of metrics why they were not taken, `too_long` counts the items that the base has no room for: neither
    asked nor part of the suite's digest.
    """

    suite: Suite
    asked: Asked
    base_record: Base
    results: tuple[Result, ...]
    base: Result | None
    against: Result | None
    left_out: Mapping[str, str]
    too_long: int = 0

    @property
    def shown(self) -> tuple[Result, ...]:
        """The adapters; the base itself where nobody else was asked."""
        return self.results or ((self.base,) if self.base else ())

    @property
    def everyone(self) -> tuple[Result, ...]:
        """All that were asked, each content once, under the name that was asked for first."""
        found: dict[str, Result] = {}
        for one in (self.base, *self.results, self.against):
            if one is not None:
                found.setdefault(one.digest, one)
        return tuple(found.values())


def evaluate(
    refs: Sequence[str],
    suite: Suite,
    registry: Registry,
    host: Host,
    asked: Asked | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Ask a base and adapters of it the same items, and compare. Nothing is stored; see `records.keep`.

    Raises Incompatible for adapters of different bases, NotFound for a metric that is none, UsageError for
    one that was asked for by name and that the suite has no inputs for, InvalidData where nothing of what was asked for
    by name can be measured.
    """
    asked = asked or Asked()
    answering = base_of(refs, registry) is not None
    metrics, left_out = _chosen(suite, asked, host, answering)
    heard = hear(refs, suite, metrics, asked, registry, on_progress)
    measured = {
        ref: {metric.name: metric.measure(outputs) for metric in metrics}
        for ref, outputs in heard.outputs.items()
    }
    if asked.metrics is not None:
        _refuse_unmeasurable(heard.suite, measured)
    results = {ref: _alone(ref, heard, metrics, measured[ref]) for ref in heard.outputs}
    base = results.get(heard.base) if heard.base else None
    against = results[asked.against] if asked.against else None
    if against is not None and against.digest != heard.record.fingerprint:
        against = _compared(against, base, None, heard.suite, registry, host)  # it is kept as the others are
    compared = [
        _compared(results[ref], base, against, heard.suite, registry, host)
        for ref in dict.fromkeys(refs)
        if ref != heard.base
    ]
    return Report(
        heard.suite, asked, heard.record, _adjusted(compared), base, against, left_out, heard.too_long
    )


def _chosen(suite: Suite, asked: Asked, host: Host, answering: bool) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that this suite has the inputs of, and why each of the others is left out."""
    known = host.metrics()
    wanted = [host.metric(name) for name in asked.metrics or known]
    has = _inputs(suite, asked, answering)
    lacking = {m.name: [_LACKS[need] for need in m.needs if need not in has] for m in wanted}
    left_out = {name: reasons[0] for name, reasons in lacking.items() if reasons}
    if asked.metrics is not None and left_out:
        name, reason = next(iter(left_out.items()))
        raise UsageError(f"{name} cannot be measured: {reason}", "`lftreg metrics` says what each one needs")
    metrics = [metric for metric in wanted if metric.name not in left_out]
    if asked.metrics is not None and not asked.allow_code_execution:
        _refuse_forbidden(metrics)
    check_extras(metric.name for metric in metrics)
    return metrics, left_out


def _refuse_forbidden(metrics: Sequence[Metric]) -> None:
    """Before anything is asked: where nothing else is wanted than what runs code, all answers would be for nothing."""
    if all(metric.name in RUNS_CODE for metric in metrics):
        raise UsageError(
            f"{metrics[0].name} {FORBIDDEN}",
            "add it where you may run such code: there are limits, and no security sandbox",
            code="no-code-execution",
        )


def _refuse_unmeasurable(suite: Suite, measured: Mapping[str, Mapping[str, Measured]]) -> None:
    """Nothing is told, and nothing kept, where all that was asked for by name says nothing of anybody."""
    found = [(name, one) for figures in measured.values() for name, one in figures.items()]
    if any(one.measurable for _, one in found):
        return
    reasons = "; ".join(
        dict.fromkeys(f"{name}: {one.note or 'not measurable on this data'}" for name, one in found)
    )
    raise InvalidData(
        f"nothing that was asked for can be measured on {suite.name}: {reasons}",
        "leave --metric out, or give more items; nothing was kept",
        code="not-measurable",
    )


# What an evaluation can lack, in words.
_LACKS: Mapping[Input, str] = {
    "references": "the suite has no references",
    "base": "a classifier's head is not the base's, which gives no answers of its own",
    "paraphrases": "no item has another wording; a column `paraphrases` gives them",
    "samples": "nothing is drawn; --samples 5 draws five answers to each item",
    "tests": "no item has tests; a column `tests` gives them",
    "losses": "the items have no text whose loss could be taken",
    "embeddings": "labels are no texts to be placed",
}


def _inputs(suite: Suite, asked: Asked, answering: bool) -> frozenset[Input]:
    items = suite.items
    found: dict[Input, bool] = {
        "references": any(item.reference for item in items),
        "base": answering,
        "paraphrases": any(item.paraphrases for item in items),
        "samples": asked.samples > 0,
        "tests": any(item.example.tests for item in items),
        "losses": any(item.reference or item.example.text for item in items),
        "embeddings": answering and any(item.asked for item in items),
    }
    return frozenset(name for name, there in found.items() if there)


def _alone(ref: str, heard: Heard, metrics: Sequence[Metric], measured: Mapping[str, Measured]) -> Result:
    figures = {m.name: Figure(m, measured[m.name], value_of(measured[m.name])) for m in metrics}
    return Result(ref, heard.digests[ref], heard.versions.get(ref), heard.outputs[ref], figures)


def value_of(measured: Measured, places: Sequence[int] | None = None) -> float | None:
    """A metric's figure over all items, or over those at some places; None where no item has one."""
    import numpy as np

    chosen = range(len(measured.values)) if places is None else places
    if not measured.measurable or not len(chosen):
        return None
    if measured.total is not None:
        total = float(measured.total(np.asarray(chosen)))
        return None if math.isnan(total) else total
    values = [measured.values[place] for place in chosen]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _compared(
    result: Result,
    base: Result | None,
    against: Result | None,
    suite: Suite,
    registry: Registry,
    host: Host,
) -> Result:
    """A result with its differences to the base and to another adapter."""
    assert result.version is not None
    found = find_contamination(suite, result.version, registry, host)
    figures = {}
    for name, figure in result.figures.items():
        told: dict[str, Difference | None] = {}
        if base is not None:
            told |= _both("", figure, base, result, found.asked)
        if against is not None and against.digest != result.digest:
            theirs = against.contamination.asked if against.contamination else frozenset()
            told |= _both("against", figure, against, result, found.asked | theirs)
        figures[name] = replace(figure, differences={k: d for k, d in told.items() if d is not None})
    return replace(result, figures=figures, contamination=found)


def _both(
    name: str, figure: Figure, other: Result, result: Result, seen: frozenset[int]
) -> dict[str, Difference | None]:
    """A difference over all items, and over those that training has not seen where it has seen some.

    Where it has seen them all, nobody is better: what is measured is memory.
    """
    whole = _difference(figure, other, result)
    if not seen:
        return {name or "base": whole}
    clean = [place for place in range(len(figure.measured.values)) if place not in seen]
    if not clean:
        return {name or "base": whole and replace(whole, better=None)}
    told = _difference(figure, other, result, clean)
    return {name or "base": whole, f"clean_{name}" if name else "clean": told}


def _difference(
    figure: Figure, other: Result, result: Result, places: Sequence[int] | None = None
) -> Difference | None:
    """How a figure differs from another's, item by item. A metric that means nothing here has none."""
    metric, theirs = figure.metric, other.figures[figure.metric.name].measured
    if not (figure.measured.measurable and theirs.measurable):
        return None
    mine, said, answered = figure.measured, other.outputs, result.outputs
    if places is not None:
        theirs, mine = _at(theirs, places), _at(mine, places)
        said, answered = _said_at(said, places), _said_at(answered, places)
    p = metric.test(said, answered) if metric.test is not None else None
    return bounded(compare(theirs, mine, better=metric.better, p_value=p), MOST.get(metric.unit))


def _at(measured: Measured, places: Sequence[int]) -> Measured:
    """What a metric found, of some items only."""
    import numpy as np

    chosen, whole = np.asarray(places), measured.total
    total = None if whole is None else lambda inner: whole(chosen[inner])
    return replace(measured, values=tuple(measured.values[place] for place in places), total=total)


def _said_at(outputs: Outputs, places: Sequence[int]) -> Outputs:
    """What was said to some items only."""
    columns = {f.name: getattr(outputs, f.name) for f in fields(outputs)}
    chosen: dict[str, Any] = {
        name: tuple(column[place] for place in places)
        for name, column in columns.items()
        if isinstance(column, tuple) and column
    }
    return replace(outputs, **chosen)


def _adjusted(results: Sequence[Result]) -> tuple[Result, ...]:
    """Results whose p-values count that several adapters were compared (Holm 1979), metric by metric.

    Equal content under several names is one adapter.
    """
    changed = [dict(result.figures) for result in results]
    for name in {name for figures in changed for name in figures}:
        for kind in ("base", "against", "clean", "clean_against"):
            told = [
                (figures, result.digest, figures[name].differences[kind])
                for result, figures in zip(results, changed, strict=True)
                if kind in figures[name].differences
            ]
            once = {digest: difference for _, digest, difference in told}
            adjusted = dict(zip(once, adjust(list(once.values())), strict=True))
            for figures, digest, difference in told:
                mine = replace(difference, adjusted=adjusted[digest].adjusted)
                figures[name] = replace(figures[name], differences={**figures[name].differences, kind: mine})
    return tuple(replace(one, figures=figures) for one, figures in zip(results, changed, strict=True))
