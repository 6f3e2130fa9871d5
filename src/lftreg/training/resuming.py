"""A run taken up again: its plan is made anew from what was written down, and has to come out the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lftreg.errors import InvalidData
from lftreg.plugins.host import Host
from lftreg.plugins.types import Domain
from lftreg.registry import Registry
from lftreg.training.plan import Plan, make_plan
from lftreg.training.runs import Request, RunFolder

HINT = "leave it out, or train anew without --resume"
WENT_ON = ("continue_from", "replay")


def plan_again(
    run: RunFolder,
    domain: Domain | str,
    registry: Registry,
    host: Host | None = None,
    *,
    base: str | None = None,
    **asked: Any,
) -> Plan:
    """The plan of a run. What is `asked` may repeat what the run was given, and nothing else.

    Raises InvalidData for an option of another value, before anything is read.
    """
    request = run.request
    source = dict(request.source)
    went_on = {key: source.pop(key) for key in WENT_ON if key in source}
    given = {key: value for key, value in asked.items() if value is not None}
    if "continue_from" in given:
        given["continue_from"] = registry.get(given["continue_from"]).ref
    for key, value in given.items():
        began = went_on.get(key) if key in WENT_ON else request.settings.get(key)
        if value != began:
            shown = "what the run was given itself" if began is None else f"{began}, with which the run began"
            raise InvalidData(
                f"--{key.replace('_', '-')} {value} is not {shown}", HINT, code="other-settings"
            )
    return make_plan(
        domain,
        name=request.name,
        base=base or request.base,
        registry=registry,
        host=host,
        trust_code=request.trust_code,
        source=source,
        **went_on,
        **request.settings,
    )


def check_same(plan: Plan, request: Request) -> None:
    """A run goes on with the data and the base that it began with. Raises InvalidData."""
    hint = "put it back, or train anew without --resume"
    if plan.data_digest != request.data_digest:
        raise InvalidData("the data is not what it was when the run began", hint, code="data-changed")
    if plan.base.record.fingerprint != request.fingerprint:
        raise InvalidData(
            f"base {request.base!r} is not what it was when the run began", hint, code="base-changed"
        )
    now: Mapping[str, Any] = plan.settings.as_dict()
    for name, value in now.items():
        if name in request.settings and request.settings[name] != value:
            raise InvalidData(
                f"--{name.replace('_', '-')} {value} is not what the run began with ({request.settings[name]})",
                HINT,
                code="other-settings",
            )
