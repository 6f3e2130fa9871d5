"""`lftreg verify`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_table, size
from lftreg.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.cli.progress import Progress
    from lftreg.registry import Problem
    from lftreg.registry.integrity import Verified

OF_SCORES = ("missing-score", "changed-score")
OF_VERSIONS = ("missing-file", "changed-file", "unreadable-file", "changed-row", "missing-row", "digest")


@define("verify", examples=("lftreg verify support@3", "lftreg verify --all"))
@click.argument("ref", type=REF, required=False)
@click.option("--all", "everything", is_flag=True, help="Everything in the registry, with its bin.")
@click.option("--repair", is_flag=True, help="With --all: make anew what is only derived from other rows.")
def command(context: Context, ref: str | None, everything: bool, repair: bool) -> None:
    """Check stored files and scores against their digests.

    With --all every reference is checked, too. Damaged files are set apart in the home's quarantine, where they are
    kept, and the versions that need them are marked in list and show; making or importing the same content again
    heals them. Exits with 6 where anything is damaged or missing.
    """
    if repair and not everything:
        raise UsageError("--repair is for everything", "lftreg verify --all --repair")
    if ref is None and not everything:
        raise UsageError("verify what?", "lftreg verify REF, or lftreg verify --all")
    if ref is not None and everything:
        raise UsageError(f"{ref}, or --all: not both", "lftreg verify REF, or lftreg verify --all")
    if ref is not None:
        ref = context.registry.get(ref).ref
    with context.out.progress("hashing") as progress:
        found = context.registry.inspect(ref, repair=repair, listen=partial(_tell, progress))
    context.out.result(_document(found), partial(_render, found.problems))
    _remark(context, found)
    if found.problems:
        raise CheckFailed(*_summary(found.problems, found.checked))
    whole = f"{found.checked} {'version is' if found.checked == 1 else 'versions are'} whole"
    context.out.note(whole if found.checked else "there is nothing to verify yet")


def _tell(progress: Progress, doing: str, files: int, of_files: int, read: int, of_read: int) -> None:
    progress.name(doing)
    progress.update(files, of_files or None, f"{size(read)} of {size(of_read)}" if of_read else "")


def _document(found: Verified) -> dict[str, Any]:
    return {
        "checked": found.checked,
        "problems": [documents.problem(one) for one in found.problems],
        "files": found.files,
        "bytes": found.bytes,
        "set_apart": [str(path) for path in found.apart],
        "healed": list(found.healed),
        "repaired": list(found.repaired),
        "notes": list(found.notes),
        "noted": found.noted,
    }


def _remark(context: Context, found: Verified) -> None:
    """What was done about it, and what is no damage."""
    out = context.out
    for path in found.apart:
        out.note(f"set apart: {path}")
    if found.healed:
        out.note(f"whole again: {', '.join(found.healed)}")
    if found.repaired:
        out.note(f"made anew: {', '.join(found.repaired)}")
    for note in found.notes:
        out.detail(note)
    if not found.noted:
        out.note("the registry cannot be written to: nothing was marked or set apart")


def _render(problems: Sequence[Problem], console: Console) -> None:
    if problems:
        columns = (
            Column("version", style="bold"),
            Column("problem", style="red"),
            Column("what was found", wrap=True),
        )
        print_table(console, columns, [[p.ref, p.code, p.message] for p in problems])


def _summary(problems: Sequence[Problem], checked: int) -> tuple[str, str]:
    """What is damaged, in a sentence, and what to do about it."""
    if any(found.code == "damaged-database" for found in problems):
        return (
            "the database itself is damaged",
            "restore it from a backup; what can still be read of it is written by `lftreg db copy sqlite:///NEW.db`",
        )
    damaged = len({found.ref for found in problems if found.code in OF_VERSIONS and "@" in found.ref})
    if damaged == checked == 1:
        return "the version is damaged", "make it again, or import it from where it was exported to"
    if damaged:
        return (
            f"{damaged} of {checked} versions {'is' if damaged == 1 else 'are'} damaged",
            "make them again, or import them from where they were exported to",
        )
    lost = sum(found.code in OF_SCORES for found in problems)
    if lost:
        return (
            f"every version is whole, but {lost} {'score has' if lost == 1 else 'scores have'} lost what was answered",
            "evaluate again: lftreg eval REF",
        )
    stale = all(found.code.startswith("stale-") for found in problems)
    return (
        f"every version is whole, but {problems[0].ref} {'has' if len(problems) == 1 else 'and more have'} a problem",
        "`lftreg verify --all --repair` makes it anew" if stale else "`lftreg db backup` keeps what there is",
    )
