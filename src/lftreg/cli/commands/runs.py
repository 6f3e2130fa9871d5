"""`lftreg runs`"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.training import RunFolder

STATUSES = ("running", "interrupted", "failed", "done")


@define("runs", examples=("lftreg runs", "lftreg runs --status interrupted --json"))
@click.option("--status", type=click.Choice(STATUSES), help="Only these.")
@click.option(
    "--limit", type=int, default=20, show_default=True, metavar="N", help="At most so many, 0 for all."
)
def command(context: Context, status: str | None, limit: int) -> None:
    """List training runs: running, interrupted, failed, done.

    The newest is the first. `lftreg train --resume` goes on with the newest one that was interrupted.
    """
    from lftreg.training.runs import Runs

    rows = [_row(run) for run in Runs(context.home).list()]
    rows = [row for row in rows if status is None or row["status"] == status]
    rows = rows[:limit] if limit > 0 else rows
    context.out.result(rows, partial(_render, rows), bare=[row["run"] for row in rows])
    if any(row["resumable"] for row in rows):
        context.out.next("lftreg train --resume")


def _row(run: RunFolder) -> dict[str, Any]:
    request, outcome, status = run.request, run.outcome or {}, run.status
    return {
        "run": run.id,
        "name": request.name,
        "status": status,
        "base": request.base,
        "step": run.step,
        "steps": request.settings.get("max_steps"),
        "started_at": documents.moment(datetime.fromtimestamp(request.started_at, UTC)),
        "ref": outcome.get("ref"),
        "error": outcome.get("error"),
        "saved": run.saved,
        "resumable": run.resumable,
        "pid": run.holder.get("pid") if status == "running" else None,
        "host": run.holder.get("host", request.host),
    }


def _render(rows: list[dict[str, Any]], console: Console) -> None:
    if not rows:
        console.print("no runs yet")
        return
    print_table(
        console,
        (
            Column("run"),
            Column("status"),
            Column("steps", right=True),
            Column("started", weight=2),
            Column("outcome", weight=1),
        ),
        [
            [
                row["run"],
                row["status"],
                _steps(row),
                ago(datetime.fromisoformat(row["started_at"])),
                _outcome(row),
            ]
            for row in rows
        ],
    )


def _steps(row: dict[str, Any]) -> str:
    return f"{row['steps'] if row['status'] == 'done' else row['step']}/{row['steps']}"


def _outcome(row: dict[str, Any]) -> str:
    if row["ref"]:
        return str(row["ref"])
    if row["error"]:
        return str(row["error"]["code"])
    if row["pid"]:
        return f"process {row['pid']}"
    return "can go on" if row["saved"] else "nothing saved"
