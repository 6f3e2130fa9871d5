"""What `lftreg train` is asked to train on: domains by name, files as one domain, or the adapters of a plan file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.cli.context import Context
from lftreg.errors import NotFound, UsageError

if TYPE_CHECKING:
    from lftreg.plugins.types import Domain


@dataclass(frozen=True)
class Source:
    """What is trained on, how another process finds it again, and which of its files have changed since.

    `name` and `asked` are what a plan file says of the adapter: its name, and options of its own.
    """

    domain: Domain
    found: dict[str, Any]
    changed: Callable[[], list[str]] = list
    name: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)


def find_sources(
    context: Context, domains: Sequence[str], data: Sequence[str], mapping: Sequence[str], name: str | None
) -> list[Source]:
    """What to train on: domains by name, or files as one domain."""
    if bool(domains) == bool(data):
        what = "both a domain and --data" if data else "nothing to train on"
        raise UsageError(
            what, "lftreg train customer_support, or lftreg train --data FILE; `lftreg domains` lists them"
        )
    if data:
        from lftreg.cli.own_data import lasting, read_own

        own = read_own(context, data, mapping, name)
        return [Source(own.domain, {"data": lasting(data), "map": list(mapping)}, own.changed)]
    if mapping:
        raise UsageError("--map tells the columns of --data", "a domain has none")
    if name is not None and len(domains) > 1:
        raise UsageError("one --name for several domains", "train them one by one, or leave --name out")
    try:
        return [Source(context.host.domain(domain), {"domain": domain}) for domain in domains]
    except NotFound as error:
        from lftreg.cli.own_data import hint_at_data

        raise hint_at_data(domains, error) from error


def planned_sources(context: Context, path: Path) -> list[Source]:
    """The adapters of a plan file, in its order."""
    from lftreg.cli.own_data import lasting, read_own
    from lftreg.cli.plan_file import read_plan_file

    found = []
    for one in read_plan_file(path):
        if one.domain is not None:
            found.append(
                Source(
                    context.host.domain(one.domain), {"domain": one.domain}, name=one.name, asked=one.asked
                )
            )
            continue
        own = read_own(context, one.data, one.mapping, one.name)
        where = {"data": lasting(one.data), "map": list(one.mapping)}
        found.append(Source(own.domain, where, own.changed, one.name, one.asked))
    return found
