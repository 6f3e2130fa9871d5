"""From plans to registered versions: hold a run's folder, train, publish, write down how it ended."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from lftreg.errors import Interrupted, LftregError, StorageError
from lftreg.models.libraries import libraries
from lftreg.plugins.host import Host
from lftreg.plugins.types import Domain
from lftreg.registry import Registry, Version
from lftreg.training import memory
from lftreg.training.by_itself import fit_by_itself
from lftreg.training.events import Listener, Stopping
from lftreg.training.facts import facts_of
from lftreg.training.grouping import shared_base
from lftreg.training.journal import JOURNAL, journaling
from lftreg.training.plan import Plan, make_plan
from lftreg.training.processes import by_first, make_accelerator
from lftreg.training.publish import Outcome, publish, published
from lftreg.training.resuming import check_same, plan_again
from lftreg.training.runs import Request, RunFolder, Runs, outcome_of
from lftreg.training.stopping import Stop, stopping
from lftreg.training.together import Started, fit_together
from lftreg.training.trackers import check_trackers, tracking


def train(
    domain: str | Domain,
    *,
    name: str | None = None,
    base: str = "starter",
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = lambda event: None,
    trust_code: bool = False,
    resume: bool = False,
    continue_from: str | None = None,
    replay: float | None = None,
    log_to: Sequence[str] = (),
    **options: Any,
) -> Version:
    """Train an adapter on a domain and register it. `options` are those of `Settings`.

    `name` is the domain's where it is left out; `listen` hears of every step and validation;
    `trust_code` lets a base run Python of its own; `resume` goes on with the run of this name that was
    interrupted last, by its own settings; `continue_from` is a REF whose factors are trained on, with a share
    `replay` of its rows among the new ones; `log_to` names trackers, such as "tensorboard". Raises a subclass of
    LftregError, with nothing registered, where anything does not fit, and Interrupted where Ctrl-C or SIGTERM
    stopped it.
    """
    check_trackers(log_to)
    registry = registry or Registry()
    if resume:
        run = Runs(registry.home).to_resume(name or (domain if isinstance(domain, str) else domain.name))
        asked = {"continue_from": continue_from, "replay": replay, **options}
        plan = plan_again(run, domain, registry, host, **asked)
        return run_plan(plan, registry, listen, run, log_to=log_to)
    plan = make_plan(
        domain, name=name, base=base, registry=registry, host=host, trust_code=trust_code,
        continue_from=continue_from, replay=replay, **options,
    )  # fmt: skip
    return run_plan(plan, registry, listen, log_to=log_to)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A plan that is to be carried out, who hears of it and of its end, and the earlier run that it goes on with."""

    plan: Plan
    listen: Listener = lambda event: None
    run: RunFolder | None = None
    ended: Callable[[Version | LftregError], None] = lambda end: None


@dataclass(frozen=True, slots=True)
class _How:
    """What all runs of a call have in common."""

    registry: Registry
    accelerator: Any
    save_every: int | None
    log_to: Sequence[str]
    price_per_hour: float | None


def run_plan(
    plan: Plan,
    registry: Registry,
    listen: Listener = lambda event: None,
    run: RunFolder | None = None,
    **how: Any,
) -> Version:
    """Load the base, train, and publish the best factors as a new version; `how` is as for `run_plans`.

    With `run` an earlier run goes on from its newest checkpoint: the plan has to be the same. Of several
    processes the first one writes, all of them return the version.
    """
    (end,) = run_plans([Wanted(plan, listen, run)], registry, **how)
    if isinstance(end, LftregError):
        raise end
    return end


def run_plans(
    wanted: Sequence[Wanted],
    registry: Registry,
    *,
    save_every: int | None = None,
    log_to: Sequence[str] = (),
    price_per_hour: float | None = None,
) -> list[Version | LftregError]:
    """Carry out plans, those together that can share a base. Each is published as soon as it has ended.

    Returns, in the order of the plans, the version or the error that ended a run: one run's error ends no other.
    `save_every` saves after so many steps; it is a matter of time where it is left out. `log_to` names trackers;
    `price_per_hour` is what the machine costs in US dollars, by default what the table of devices says. Raises
    Interrupted where somebody stopped it, with everything saved.
    """
    check_trackers(log_to)
    for one in wanted:
        registry.check_name(one.plan.name)
    how = _How(registry, make_accelerator(), save_every, log_to, price_per_hour)
    ends: dict[int, Version | LftregError] = {}
    patient = how.accelerator.num_processes > 1

    def noted(number: int) -> None:
        for one in wanted if how.accelerator.is_main_process else ():
            one.listen(Stopping(number, again=not patient))

    # From here on, as libraries that are being loaded may swallow a KeyboardInterrupt.
    with stopping(noted, patient) as stop:
        for group in _groups(wanted, how.accelerator):
            if stop:
                raise _stopped(wanted, ends, stop)
            for at, end in _carried_out([wanted[number] for number in group], how, stop):
                ends[group[at]] = end
                wanted[group[at]].ended(end)
            if any(isinstance(end, Interrupted) for end in ends.values()):
                raise _stopped(wanted, ends, stop)
    return [ends[number] for number in range(len(wanted))]


def _stopped(wanted: Sequence[Wanted], ends: Mapping[int, Version | LftregError], stop: Stop) -> Interrupted:
    """What is said of several runs that somebody stopped; of a single one it says so itself."""
    stopped = {number: end for number, end in ends.items() if isinstance(end, Interrupted)}
    if len(wanted) == 1:
        return stopped[0]
    names = [wanted[number].plan.name for number in stopped]
    unbegun = [one.plan.name for number, one in enumerate(wanted) if number not in ends]
    told = [f"{len(names)} of {len(wanted)} runs were stopped, and are saved"] if names else []
    if unbegun:
        told.append(f"{', '.join(unbegun)} {'was' if len(unbegun) == 1 else 'were'} not begun")
    hint = f"`lftreg train --resume {' '.join(names)}` goes on with them" if names else None
    error = Interrupted("; ".join(told), hint)
    if stop.signal is not None:
        error.exit_code = 128 + stop.signal
    return error


def _groups(wanted: Sequence[Wanted], accelerator: Any) -> list[list[int]]:
    """The numbers of plans that train together, in the order in which the first of each was wanted."""
    groups: dict[Hashable, list[int]] = {}
    for number, one in enumerate(wanted):
        base = shared_base(one.plan) if accelerator.num_processes == 1 else None
        groups.setdefault(("alone", number) if base is None else base, []).append(number)
    return list(groups.values())


def _carried_out(
    group: Sequence[Wanted], how: _How, stop: Stop
) -> Iterator[tuple[int, Version | LftregError]]:
    """The ends of runs that share a base, by their places in the group."""
    with ExitStack() as held, memory.told():
        runs = []
        for one in group:
            runs.append(_run_of(one, how))
            held.enter_context(_holding(runs[-1], how.accelerator))
        started: dict[int, Started] = {}
        for at, (one, run) in enumerate(zip(group, runs, strict=True)):
            before = by_first(how.accelerator, partial(published, run, one.plan, how.registry))
            if before is None:
                started[at] = _started(one, run, how)
                held.callback(started[at].exits.close)
            else:
                yield at, _closed(run, before, how)
        if started:
            places = list(started)
            for place, outcome in _fitted(list(started.values()), how, stop):
                yield places[place], _ended(started[places[place]], outcome, how, len(started))


def _fitted(started: Sequence[Started], how: _How, stop: Stop) -> Iterator[tuple[int, Outcome | LftregError]]:
    """What comes of runs, as they end."""
    shares = shared_base(started[0].plan) is not None and how.accelerator.num_processes == 1
    if shares:
        yield from fit_together(started, how.accelerator, how.save_every, stop)
        return
    (one,) = started
    try:
        yield 0, fit_by_itself(one.plan, one.run, how.accelerator, one.listen, how.save_every, stop)
    except LftregError as error:
        yield 0, error


def _run_of(one: Wanted, how: _How) -> RunFolder:
    """The run's folder: a new one, or that of the run which goes on."""
    run = one.run
    if run is None:
        run = by_first(how.accelerator, lambda: Runs(how.registry.home).begin(request_of(one.plan)))
    else:
        check_same(one.plan, run.request)
    if not run.path.is_dir():
        raise StorageError(
            f"this process does not see {run.path}",
            "all machines of a run need one home, on a file system they share",
        )
    return run


def _started(one: Wanted, run: RunFolder, how: _How) -> Started:
    exits, first = ExitStack(), how.accelerator.is_main_process
    heard = one.listen if first else lambda event: None
    tracked = exits.enter_context(tracking(how.log_to, run.id, one.plan, how.registry.home, heard))
    return Started(one.plan, run, exits.enter_context(journaling(run.path, tracked, first)), exits)


def _ended(one: Started, outcome: Outcome | LftregError, how: _How, many: int) -> Version | LftregError:
    """A run that has ended, written down as what it became."""
    one.exits.close()
    first = how.accelerator.is_main_process
    if isinstance(outcome, LftregError):
        left = outcome_of(outcome)
        if left is not None and first:
            _close(one.run, left)
        return outcome
    machines = how.accelerator.num_processes / many

    def register() -> Version:
        return publish(one.plan, one.run, outcome, how.registry, how.price_per_hour, machines)

    try:
        return _closed(one.run, by_first(how.accelerator, register), how)
    except LftregError as error:  # of this run alone: others may be under way
        left = outcome_of(error)
        if left is not None and first:
            _close(one.run, left)
        return error


def _closed(run: RunFolder, version: Version, how: _How) -> Version:
    if how.accelerator.is_main_process:
        _close(run, {"ref": version.ref, "digest": version.digest})
        (run.path / JOURNAL).unlink(missing_ok=True)  # the version has it all
    return version


def request_of(plan: Plan) -> Request:
    """What is written down of a plan, so that another process can take it up."""
    import torch

    return Request(
        name=plan.name,
        base=plan.base.record.id,
        fingerprint=plan.base.record.fingerprint,
        data_digest=plan.data_digest,
        settings=plan.settings.as_dict(),
        libraries=libraries(),
        threads=torch.get_num_threads(),
        trust_code=plan.base.code,
        source={**plan.source, **_continued(plan)},
        facts=facts_of(plan),
    )


def _continued(plan: Plan) -> dict[str, Any]:
    """What a run goes on from, so that it can be found again."""
    parent = plan.parent
    if parent is None:
        return {}
    return {"continue_from": parent.version.ref, "replay": parent.replay}


@contextmanager
def _holding(run: RunFolder, accelerator: Any) -> Iterator[None]:
    """Hold a run's lock, and write down how it ended. A run that was stopped has no end yet."""
    if not accelerator.is_main_process:
        yield
        return
    with run.held():
        run.reopen()
        try:
            yield
        except BaseException as error:
            outcome = outcome_of(error)
            if outcome is not None and run.outcome is None:
                _close(run, outcome)
            raise


def _close(run: RunFolder, outcome: Mapping[str, Any]) -> None:
    """Write down how a run ended. A full disk has no room for it: then it counts as interrupted, and can be ended."""
    with suppress(OSError):
        run.close(outcome)
