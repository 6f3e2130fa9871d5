"""`lftreg compose --fit`: weights are looked for, and what they are worth is shown before they are used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from lftreg.cli.context import Context
from lftreg.cli.own_data import parse_mapping
from lftreg.cli.tables import Column, print_table

if TYPE_CHECKING:
    from lftreg.composer.fitting.fit import Fitted
    from lftreg.composer.fitting.judge import Compared

ATTACHMENT = "fit.json"


def find_weights(
    context: Context, parents: Sequence[str], files: Sequence[str], per: str, mapping: Sequence[str]
) -> Fitted:
    """Fit, and say how the result compares with everything else on rows that it never saw."""
    from lftreg.composer.fitting.fit import STEPS, fit_weights

    with context.out.progress("fitting", STEPS) as progress:
        fitted = fit_weights(
            parents,
            files,
            per=per,  # type: ignore[arg-type]  # click allows no other word
            columns=parse_mapping(mapping) or None,
            steps=STEPS,
            registry=context.registry,
            host=context.host,
            listen=lambda doing, done=0: progress.update(done, note=doing),
        )
    if not (context.out.json or context.out.quiet):
        _show(context, fitted)
    return fitted


def attachment(fitted: Fitted) -> dict[str, bytes]:
    """What is kept beside the version that is composed with the weights."""
    return {ATTACHMENT: json.dumps(asdict(fitted), indent=1).encode()}


def _show(context: Context, fitted: Fitted) -> None:
    columns = (
        Column("on held-out rows"),
        Column(f"nats a {fitted.unit}", right=True),
        Column("difference to the best single", right=True),
    )
    rows = [[one.name, f"{one.loss:.3f}", _interval(one)] for one in fitted.compared]
    print_table(context.out.err, columns, rows)
    context.out.note(
        f"{fitted.rows['train']} rows to fit on, {fitted.rows['test']} to judge by; "
        f"{fitted.forwards} forward passes in {fitted.seconds:.0f} s"
    )
    context.out.note(fitted.verdict)


def _interval(one: Compared) -> str:
    """A difference as its 95 % interval, below 0 where the candidate is better."""
    return "best single" if one.ci95 is None else f"{one.ci95[0]:+.3f} to {one.ci95[1]:+.3f}"
