"""Where the signals of a run are read: a version, a run's folder, or the `trainer_state.json` of another trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lftreg.advice.mending import retry_of
from lftreg.advice.signals import Check, Point, Signals
from lftreg.advice.trainer_state import HINT, STATE, has_state, newest_state, of_trainer
from lftreg.errors import InvalidData, LftregError, NotFound
from lftreg.registry import Registry, Version
from lftreg.training.checkpoint import BEFORE, NEWEST, state_of
from lftreg.training.events import Stepped, Validated
from lftreg.training.journal import Journal, read_journal
from lftreg.training.losses import LOSSES, Losses
from lftreg.training.runs import RunFolder, Runs

PLANNED = (
    "steps",
    "best_step",
    "memory",
    "run",
    "source",
    "cost",
    "parent",
    "task",
)  # a version's, no settings


def find_signals(what: str | None, registry: Registry) -> Signals:
    """The signals of a run by its identity, of an adapter's newest run by its name, of a version by its REF, or of
    another trainer by its file or the folder that holds it; of the newest run of all where it is None.

    Raises NotFound where there is none, InvalidData where it cannot be read.
    """
    if what is None:
        runs = Runs(registry.home).list()
        if not runs:
            raise NotFound(
                "there are no runs yet", "`lftreg train customer_support` makes one", code="no-runs"
            )
        return of_run(runs[0], registry)
    path = Path(what).expanduser()
    if path.suffix == ".json" or has_state(path):
        return of_trainer(newest_state(path))
    run = next((run for run in Runs(registry.home).list() if what in (run.id, run.request.name)), None)
    if run is not None:
        return of_run(run, registry)
    try:
        return of_version(registry.get(what), registry)
    except LftregError as error:
        if path.is_dir():
            told = f"{path} holds no {STATE}, nor does a checkpoint-* folder in it"
            raise NotFound(told, HINT, code="unknown-file") from error
        if path.is_file():
            raise InvalidData(f"{path} is no {STATE}", HINT, code="no-trainer-state") from error
        if what.startswith(("/", ".", "~")):
            raise NotFound(f"no file or folder {path}", HINT, code="unknown-file") from error
        raise


def of_run(run: RunFolder, registry: Registry) -> Signals:
    """The signals of a run's folder; of a run that is done, those of the version that it made."""
    request, outcome, status = run.request, run.outcome or {}, run.status
    if status == "done":
        try:
            return of_version(registry.get(outcome["ref"]), registry)
        except NotFound as error:
            raise NotFound(
                f"run {run.id} made {outcome['ref']}, which is no longer here",
                "lftreg restore brings it back",
            ) from error
    journal = read_journal(run.path)
    if not journal.steps:  # a run that an older lftreg began
        journal = _from_checkpoint(run) or journal
    return Signals(
        run=run.id,
        trainer="lftreg",
        status=status,
        points=_points(journal.steps),
        checks=_checks(journal.validations),
        planned=request.settings.get("max_steps"),
        passes=_passes(len(journal.steps), request.facts),
        seconds=journal.steps[-1].seconds if journal.steps else None,
        tokens=journal.steps[-1].tokens if journal.steps else None,
        settings=request.settings,
        facts=request.facts,
        error=outcome.get("error"),
        shrunk=tuple({"step": one.step, "rows": one.rows} for one in journal.shrunk),
        retry=retry_of(request.name, request.base, request.source, request.settings, request.facts),
    )


def of_version(version: Version, registry: Registry) -> Signals:
    """The signals that stand beside a trained version. Raises NotFound where it was not trained here."""
    run = version.run
    if run is None or not any(file.name == LOSSES for file in version.files):
        why = f"it was {version.kind}" if version.kind != "trained" else "an older lftreg trained it"
        raise NotFound(
            f"{version.ref} has no signals to judge: {why}", "`lftreg runs` lists runs", code="no-losses"
        )
    losses = Losses.from_bytes(registry.read(version, LOSSES))
    settings = {name: value for name, value in run.settings.items() if name not in PLANNED}
    facts = {"rows": run.examples, **losses.facts}
    source = run.settings.get("source") or {}
    if run.parent is not None:
        source = {**source, "continue_from": run.parent.ref, "replay": run.settings["parent"].get("replay")}
    return Signals(
        run=str(run.settings.get("run") or version.ref),
        trainer="lftreg",
        status="done",
        points=_points(losses.steps),
        checks=_checks(losses.validations),
        planned=run.settings.get("max_steps"),
        passes=_passes(len(losses.steps), facts),
        ref=version.ref,
        seconds=run.seconds,
        tokens=run.tokens,
        settings=settings,
        facts=facts,
        losses=run.losses,
        shrunk=tuple(facts.get("shrunk") or ()),
        retry=retry_of(version.name, version.base.id, source, settings, facts),
    )


def _points(steps: Sequence[Stepped]) -> tuple[Point, ...]:
    return tuple(Point(step.step, step.loss, step.lr, step.norm) for step in steps)


def _checks(validations: Sequence[Validated]) -> tuple[Check, ...]:
    return tuple(Check(one.step, one.loss, one.right, one.entropy) for one in validations)


def _passes(steps: int, facts: Mapping[str, Any]) -> float | None:
    a_pass = facts.get("steps_a_pass")
    return steps / a_pass if a_pass else None


def _from_checkpoint(run: RunFolder) -> Journal | None:
    """What the newest checkpoint's header tells, which costs no torch."""
    for name in (NEWEST, BEFORE):
        state = state_of(run.path / name)
        if state is not None:
            return Journal(tuple(state.steps), tuple(state.validations))
    return None
