"""`lftreg stats`"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, count, print_fields, print_table, size

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry.garbage import Garbage
    from lftreg.registry.stats import Stats


@define("stats", examples=("lftreg stats", "lftreg stats --json"))
def command(context: Context) -> None:
    """Show how much is stored, and how much is shared.

    Equal files are stored once, whoever names them. What `lftreg gc` would free is counted as it would find it now.
    """
    found = context.registry.stats()
    garbage = context.registry.gc(dry_run=True) if found.files or found.scratch or found.removed else None
    freed = 0 if garbage is None else garbage.bytes
    document = asdict(found) | {"ratio": found.ratio, "garbage": freed}
    context.out.result(document, partial(_render, found, garbage))
    if freed:
        context.out.next("lftreg gc --dry-run")


def _render(found: Stats, garbage: Garbage | None, console: Console) -> None:
    bin = f", and {found.removed:,} in the bin" if found.removed else ""
    fields = {
        "adapters": f"{found.adapters:,}",
        "versions": f"{found.versions:,}{bin}",
        "damaged": f"{found.damaged:,}: `lftreg verify --all` tells why" if found.damaged else None,
        "bases": f"{found.bases:,}",
        "scores": f"{found.scores:,}" + (f", {found.preferences:,} choices" if found.preferences else ""),
        "runs": f"{found.runs:,}",
        "named": f"{size(found.named)} by all versions",
        "stored": _stored(found),
        "garbage": f"{size(garbage.bytes)} that `lftreg gc` frees now" if garbage and garbage.files else None,
        "set apart": f"{size(found.quarantine)} in quarantine" if found.quarantine else None,
        "scratch": size(found.scratch) if found.scratch else None,
        "exports": size(found.exports) if found.exports else None,
        "run folders": size(found.checkpoints) if found.checkpoints else None,
        "database": size(found.database),
    }
    print_fields(console, fields)
    if found.largest:
        console.print()
        columns = (
            Column("adapter", style="bold"),
            Column("versions", right=True),
            Column("size", right=True),
        )
        print_table(
            console, columns, [[one.name, count(one.versions), size(one.bytes)] for one in found.largest]
        )


def _stored(found: Stats) -> str:
    """What the files take, and what that saves."""
    text = f"{size(found.on_disk)} in {found.files:,} files"
    every = found.versions + found.removed
    if found.ratio and found.ratio >= 1.05:
        text += (
            f"; {every:,} versions share {size(found.unique)}, {found.ratio:.1f} times less than they name"
        )
    return text
