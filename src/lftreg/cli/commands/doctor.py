"""`lftreg doctor`"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import click

from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.errors import CheckFailed, UsageError


@define(
    "doctor",
    examples=(
        "lftreg doctor",
        "lftreg doctor --last",
        "lftreg doctor support",
        "lftreg doctor ./outputs/checkpoint-500/trainer_state.json",
    ),
)
@click.argument("run", required=False, type=REF)
@click.option("--last", is_flag=True, help="The newest run of all.")
def command(context: Context, run: str | None, last: bool) -> None:
    """Check this installation, or diagnose a training run.

    Without RUN it looks at libraries, extras, home, database, the starter base, hardware and plugins. RUN is an
    adapter's name (its newest run), a run of `lftreg runs`, a version, or the trainer_state.json that transformers
    and TRL write, or a folder with one. What is wrong with it is told by its signals, the root cause first, each
    with the command that mends it. Exits with 6 where something keeps lftreg from working, or a run is not healthy.
    """
    if run is not None and last:
        raise UsageError("both a run and --last", "ask for one of them")
    if run is None and not last:
        _installation(context)
    else:
        _diagnose(context, run)


def _installation(context: Context) -> None:
    from lftreg.cli import doctor_view, installation

    findings = installation.look_around(context)
    bad = [finding for finding in findings if finding.status == "bad"]
    document = {"ok": not bad, "findings": [asdict(finding) for finding in findings]}
    context.out.result(document, partial(doctor_view.print_findings, findings))
    if bad:
        raise CheckFailed(f"{bad[0].subject}: {bad[0].detail}", bad[0].hint)


def _diagnose(context: Context, run: str | None) -> None:
    from lftreg.advice.diagnose import diagnose, is_healthy
    from lftreg.advice.reading import find_signals
    from lftreg.cli import doctor_view

    signals = find_signals(run, context.registry)
    found = diagnose(signals)
    healthy = is_healthy(found)
    document = {
        "run": signals.run,
        "ref": signals.ref,
        "status": signals.status,
        "healthy": healthy,
        "diagnoses": [asdict(diagnosis) for diagnosis in found],
        "signals": signals.document(),
    }
    context.out.result(document, partial(doctor_view.print_diagnoses, signals, found, healthy))
    if not healthy:
        whose = signals.ref or signals.run
        if context.out.json:
            raise CheckFailed(f"{whose} is not healthy: {found[0].name}", found[0].mend)
        raise CheckFailed(f"{whose} is not healthy")  # what it has, and what mends it, was just told
