"""Taking up a run that was interrupted: what it was asked for is read back, and asked for again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.cli.context import Context
from lftreg.cli.own_data import lasting, read_own
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from lftreg.plugins.types import Domain
    from lftreg.training import Plan, RunFolder


def plans(
    context: Context,
    names: Sequence[str],
    data: Sequence[str],
    name: str | None,
    options: Mapping[str, Any],
) -> list[tuple[Plan, RunFolder]]:
    """The newest interrupted run of each name, or of all where none is given, and its plan made anew."""
    from lftreg.data import name_of
    from lftreg.training import Runs

    wanted: list[str | None] = [name] if name else [*names] or [name_of(data[0]) if data else None]
    runs = [Runs(context.home).to_resume(one) for one in wanted]
    for run in runs:
        _refuse_other_data(run, names, data)
    return [(_plan(context, run, options), run) for run in runs]


def _refuse_other_data(run: RunFolder, names: Sequence[str], data: Sequence[str]) -> None:
    """What was typed has to be what the run is made of, or its name."""
    from lftreg.training.resuming import HINT

    source = run.request.source
    if data and lasting(data) != source.get("data"):
        raise UsageError(f"run {run.id} was not begun with this --data", HINT, code="other-settings")
    if names and not {run.id, run.request.name, source.get("domain")} & set(names):
        raise UsageError(f"run {run.id} was not begun with {', '.join(names)}", HINT, code="other-settings")


def _plan(context: Context, run: RunFolder, options: Mapping[str, Any]) -> Plan:
    from lftreg.training.resuming import plan_again

    context.out.note(f"run {run.id}")
    return plan_again(run, _domain(context, run), context.registry, context.host, **options)


def _domain(context: Context, run: RunFolder) -> Domain:
    request, source = run.request, run.request.source
    if "domain" in source:
        return context.host.domain(source["domain"])
    if "data" in source:
        return read_own(context, source["data"], source["map"], request.name).domain
    raise UsageError(
        f"run {run.id} was started from Python, with data that only its program knows",
        "call lftreg.train(..., resume=True) there",
        code="not-resumable",
    )
