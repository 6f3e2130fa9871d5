"""`lftreg gc`"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, print_table, short, size
from lftreg.errors import LftregError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.cli.progress import Progress
    from lftreg.registry.garbage import Garbage, Waste

DAY = 24 * 3600.0
KINDS = {
    "blob": "files that nothing names",
    "export": "exports of what is gone",
    "scratch": "left by what was killed",
    "run": "runs that nobody resumed",
}


@define("gc", examples=("lftreg gc --dry-run", "lftreg gc", "lftreg gc --keep-days 0 -y"))
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="N",
    help="Take only what nobody needed for so many days.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would go, and delete nothing.")
def command(context: Context, keep_days: float, dry_run: bool) -> None:
    """Delete what nobody needs: the bin, stray files, dead runs.

    Versions that rm removed so long ago are gone for good, with the scores of content that no version has any more;
    their numbers never come again. Then go files that nothing names, what killed processes left, exports of content
    that is gone, and interrupted runs that nobody resumed. Others may use the registry meanwhile.
    """
    found = context.registry.gc(keep_days, dry_run=True)
    before = time.time() - keep_days * DAY
    abandoned = list(_abandoned(context, before, dry_run=True))
    if not dry_run:
        _confirm(context, len(found.versions), len(abandoned))
        with context.out.progress("deleting", len(found.versions) + len(found.files)) as progress:
            found = context.registry.gc(keep_days, listen=partial(_tell, progress))
        abandoned = list(_abandoned(context, before, dry_run=False))
    found = replace(found, files=(*found.files, *abandoned))
    if context.out.quiet and not context.out.json:
        context.out.lines([*(one.ref for one in found.versions), *(str(one.path) for one in found.files)])
        return
    context.out.result(_document(found, keep_days, dry_run), partial(_render, found, context.out.verbose))
    _conclude(context, found, keep_days, dry_run)


def _abandoned(context: Context, before: float, *, dry_run: bool) -> Iterator[Waste]:
    """Runs that nobody went on with, and that are gone now unless it is only asked."""
    if not context.home.runs.is_dir():
        return
    from lftreg.registry.garbage import Waste, weight
    from lftreg.training.runs import Runs

    for run in Runs(context.home).abandoned(before):
        waste = Waste("run", run.path, weight(run.path))
        if dry_run or run.discard(before):
            yield waste


def _confirm(context: Context, versions: int, runs: int) -> None:
    """Ask where what goes may have cost hours: versions, and runs that could be gone on with."""
    named = ((versions, "version", " in the bin"), (runs, "interrupted run", ""))
    going = [_count(number, what) + where for number, what, where in named if number]
    if going and not context.out.confirm(
        f"{' and '.join(going)} will be gone for good. Go on?", otherwise=True
    ):
        raise LftregError("nothing was deleted", code="declined")


def _tell(progress: Progress, doing: str, done: int, total: int) -> None:
    progress.name(doing)
    progress.update(done, total)


def _document(found: Garbage, keep_days: float, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "keep_days": keep_days,
        "bytes": found.bytes,
        "versions": [
            {
                "ref": one.ref,
                "digest": documents.digest(one.digest),
                "removed_at": documents.moment(one.removed_at),
            }
            for one in found.versions
        ],
        "scores": found.scores,
        "preferences": found.preferences,
        "files": [{"kind": one.kind, "path": str(one.path), "bytes": one.bytes} for one in found.files],
    }


def _render(found: Garbage, every: bool, console: Console) -> None:
    if found.versions:
        print_table(
            console,
            (Column("version", style="bold"), Column("removed"), Column("sha256", weight=1, style="dim")),
            [[one.ref, ago(one.removed_at), short(one.digest)] for one in found.versions],
        )
        console.print()
    rows = [
        [what, str(len(some)), size(sum(one.bytes for one in some))]
        for kind, what in KINDS.items()
        if (some := [one for one in found.files if one.kind == kind])
    ]
    rows += [[what, str(n), ""] for what, n in _rows(found) if n]
    if rows:
        print_table(console, (Column("what"), Column("count", right=True), Column("size", right=True)), rows)
    if every and found.files:
        console.print()
        columns = (Column("file"), Column("size", right=True))
        print_table(console, columns, [[str(one.path), size(one.bytes)] for one in found.files])


def _rows(found: Garbage) -> Sequence[tuple[str, int]]:
    return ("scores of what is gone", found.scores), ("choices of what is gone", found.preferences)


def _conclude(context: Context, found: Garbage, keep_days: float, dry_run: bool) -> None:
    out = context.out
    if not found.versions and not found.files:
        long = f": nothing was left unneeded for {_count(keep_days, 'day')}" if keep_days else ""
        out.note(f"nothing to delete{long}")
    elif dry_run:
        out.note(f"would free {size(found.bytes)}; nothing was deleted")
        out.next("lftreg gc" if keep_days == 30 else f"lftreg gc --keep-days {keep_days:g}")
    else:
        out.note(f"freed {size(found.bytes)}")


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" + ("" if number == 1 else "s")
