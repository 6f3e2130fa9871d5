"""What the commands that share have in common: how long they wait, what they show meanwhile; a search of the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from lftreg.cli.tables import Column, count, print_table
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.cli.context import Context
    from lftreg.plugins.types import Hit, Patience, Told

KB = 1000


def patience(context: Context) -> Patience:
    """How long a remote may take, by the settings."""
    from lftreg.plugins.types import Patience

    settings = context.settings
    return Patience(
        connect=min(10.0, settings.remote_silence),
        silence=settings.remote_silence,
        whole=settings.remote_deadline,
    )


@contextmanager
def moving(context: Context, title: str) -> Iterator[Told]:
    """A bar that counts kilobytes, of one file after the other."""
    with context.out.progress(title) as progress:

        def told(title: str, done: int, total: int) -> None:
            progress.name(title)
            progress.update(done // KB, max(1, total // KB), "kB")

        yield told


def origin_line(origin: Mapping[str, Any] | None) -> str | None:
    """Where a version was pulled from, in a line."""
    if not origin:
        return None
    revision = f"@{origin['revision']}" if origin.get("revision") else ""
    host = f" on {origin['host']}" if origin.get("host") else ""
    return (
        f"{origin.get('remote')}:{origin.get('place')}{revision}{host}, "
        f"commit {str(origin.get('commit'))[:12]}"
    )


def search_hub(context: Context, text: str, limit: int) -> None:
    """`lftreg search --hub`: adapters that the hub has, those that are fetched most first."""
    remote = context.host.remote("hub")
    if remote.search is None:
        raise UsageError("the hub's plugin cannot search", "`lftreg plugins` tells which it is")
    hits = list(remote.search(text, limit, patience(context)))
    document = [asdict(hit) | {"tags": list(hit.tags)} for hit in hits]
    context.out.result(document, partial(_render, hits), bare=[hit.ref for hit in hits])
    if hits:
        context.out.next(f"lftreg pull {hits[0].ref.removeprefix('hub:')}")
    else:
        context.out.note(f"the hub has no adapter that matches {text!r}")


def _render(hits: Sequence[Hit], console: Console) -> None:
    columns = (
        Column("adapter", style="bold", weight=2),
        Column("base", weight=2, cut=True),
        Column("fetched", right=True),
        Column("likes", right=True),
        Column("updated", style="dim"),
    )
    rows = [
        [
            hit.ref,
            hit.base or "",
            "" if hit.downloads is None else count(hit.downloads),
            "" if hit.likes is None else count(hit.likes),
            (hit.updated or "")[:10],
        ]
        for hit in hits
    ]
    if rows:
        print_table(console, columns, rows)
