"""The best trials once more: alone, by the usual way, and judged on rows that no trial has seen.

Where what a trial has learned beside others is what it learns alone, and is still at hand, it does not learn it twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lftreg.errors import Interrupted, LftregError
from lftreg.registry import Registry, Version
from lftreg.sweeping import chart, table
from lftreg.sweeping.bench import Bench
from lftreg.sweeping.events import Confirming, Listener, Tested
from lftreg.sweeping.halving import FINALISTS
from lftreg.sweeping.plans import Plans
from lftreg.sweeping.study import Row, Study
from lftreg.training import Runs, samples
from lftreg.training.publish import Outcome, publish
from lftreg.training.run import request_of


@dataclass(frozen=True, slots=True)
class Finalist:
    """A trial that was confirmed: its lowest validation loss, and the loss on the test split, in nats a token."""

    number: int
    settings: Mapping[str, Any]
    validation: float
    test: float
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        return {
            "trial": self.number,
            "settings": dict(self.settings),
            "validation": self.validation,
            "test": self.test,
        }


def finalists(rows: Sequence[Row]) -> list[Row]:
    """The best three that learned to the end, the best first."""
    whole = [row for row in rows if row.end == "finished" and row.loss is not None]
    return sorted(whole, key=lambda row: (row.loss, row.number))[:FINALISTS]


def confirm(study: Study, plans: Plans, bench: Bench, tell: Listener) -> list[Finalist]:
    """Judge the finalists, one by one, trained alone; the best on the test split comes first.

    Raises LftregError where there is none, or where none came to anything, and Interrupted.
    """
    chosen = finalists(study.rows)
    if not chosen:
        raise LftregError(
            f"no trial of study {study.name!r} learned to its end",
            "give it more --trials or a larger --budget, or search other settings with --space",
            code="no-finalist",
        )
    confirmed: list[Finalist] = []
    failed: list[LftregError] = []
    for place, row in enumerate(chosen, start=1):
        tell(Confirming(row.number, place, len(chosen)))
        try:
            test, outcome = _trained(plans, row, bench)
        except Interrupted:
            raise
        except LftregError as error:
            failed.append(error)
            tell(Tested(row.number, None, error.message))
            continue
        lowest = outcome.fitted.losses["validation_after"]
        confirmed.append(Finalist(row.number, row.settings, lowest, test, outcome))
        tell(Tested(row.number, test))
    if not confirmed:
        raise failed[0]
    return sorted(confirmed, key=lambda one: (one.test, one.number))


def register(
    study: Study,
    plans: Plans,
    bench: Bench,
    confirmed: Sequence[Finalist],
    registry: Registry,
    price_per_hour: float | None,
) -> Version:
    """Publish the best of the finalists, with its study."""
    best = confirmed[0]
    plan = plans.of(best.settings)
    outcome = replace(best.outcome, samples=_asked(bench, plan, best.outcome))
    rows = study.rows
    told = table.document(study, rows, confirmed)
    about = {key: value for key, value in told.items() if key != "table"} | {"trial": best.number}
    beside = {
        table.TABLE: table.written(told),
        chart.PICTURE: chart.draw(study.name, rows, study.space, plan.unit),
    }
    run = Runs(registry.home).begin(request_of(plan))
    with run.held():
        version = publish(plan, run, outcome, registry, price_per_hour, 1.0, sweep=about, beside=beside)
        run.close({"ref": version.ref, "digest": version.digest})
    return version


def _trained(plans: Plans, row: Row, bench: Bench) -> tuple[float, Outcome]:
    with bench.together([plans.of(row.settings)]) as alone:
        (seat,) = alone.seats
        seat.fitted = bench.kept(row.number)
        if seat.fitted is None:
            ((_, end),) = alone.run([(seat, seat.until(None))])
            if isinstance(end, LftregError):
                raise end
        return alone.tested()


def _asked(bench: Bench, plan: Any, outcome: Outcome) -> tuple[samples.Sample, ...]:
    """What the base and the adapter say to the plan's questions."""
    asked = samples.questions(plan)
    with bench.together([plan]) as fresh:  # an adapter that was not trained yet changes nothing
        (seat,) = fresh.seats
        before = fresh.answers(seat)
        seat.fitted = outcome.fitted
        fresh.take(seat)
        return samples.together(asked, before, fresh.answers(seat))
