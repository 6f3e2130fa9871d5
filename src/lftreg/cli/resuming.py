"""Taking up a run that was interrupted: what it was asked for is read back, and asked for again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.cli.context import Context
from lftreg.cli.own_data import read_own
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from lftreg.plugins.types import Domain
    from lftreg.registry import Version
    from lftreg.training import Plan, RunFolder

Start = Callable[["Plan", "RunFolder"], "Version"]


def resume(
    context: Context,
    names: Sequence[str],
    data: Sequence[str],
    name: str | None,
    options: Mapping[str, Any],
    start: Start,
) -> list[Version]:
    """Go on with the newest interrupted run of each name, or of all where none is given."""
    from lftreg.data import name_of
    from lftreg.training import Runs

    wanted: list[str | None] = [name] if name else [*names] or [name_of(data[0]) if data else None]
    runs = [Runs(context.home).to_resume(one) for one in wanted]
    return [start(_plan(context, run, options), run) for run in runs]


def _plan(context: Context, run: RunFolder, options: Mapping[str, Any]) -> Plan:
    """The plan of a run, made anew. Options that were typed must say what the run's say: `check_same` looks."""
    from lftreg.training import make_plan

    request = run.request
    given = {key: value for key, value in options.items() if value is not None}
    base = given.pop("base", request.base)
    context.out.note(f"run {run.id}")
    source = dict(request.source)
    went_on = {key: source.pop(key) for key in ("continue_from", "replay") if key in source}
    return make_plan(
        _domain(context, run),
        name=request.name,
        registry=context.registry,
        host=context.host,
        source=source,
        **went_on,
        **{"base": base, "trust_code": request.trust_code, **request.settings, **given},
    )


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
