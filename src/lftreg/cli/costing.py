"""What `lftreg cost` calculates with: a plan that was foretold, or the record of a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lftreg.advice.cost import WHOLE, Costs, Machine, Traffic, Training, costs, dollars, training_flops
from lftreg.budget.devices import CPU, Device, find, memory_bandwidth
from lftreg.errors import NotFound, UsageError

if TYPE_CHECKING:
    from lftreg.registry import Run, Version
    from lftreg.training import Plan

UNNAMED = "the machine that trained it"
PROMPT, ANSWER = 50.0, 100.0  # tokens, where neither data nor options tell
ASSUMED, OF_ROWS, TOLD = "assumed", "means of the train rows", "as told"
NO_MACHINE = (
    "on what it was trained is not recorded, nor what a query takes there; --gpu-type NAME tells which it was"
)
NO_BANDWIDTH = "what a query takes: devices.toml has no bandwidth of {}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: the device by name, the price that counts, and the traffic; None is not told."""

    device: str | None
    price: float | None
    prompt: int | None
    answer: int | None
    passage: int
    top_k: int
    queries_a_month: int | None
    concurrency: int | None = None

    def traffic(self, lengths: tuple[float, float] | None) -> tuple[Traffic, str]:
        """The traffic, and where its lengths are from: what was told, else the mean `lengths` of the train rows."""
        prompt, answer = (PROMPT, ANSWER) if lengths is None else lengths
        told = self.prompt is not None and self.answer is not None
        found = Traffic(
            prompt if self.prompt is None else self.prompt,
            answer if self.answer is None else self.answer,
            self.passage,
            self.top_k,
            self.queries_a_month,
            self.concurrency,
        )
        return found, TOLD if told else ASSUMED if lengths is None else OF_ROWS


@dataclass(frozen=True, slots=True)
class Row:
    """The costs of one adapter, trained or planned, and with what traffic. `why` is what could not be foretold.

    `lengths_by` says where the tokens of a question and of an answer are from.
    """

    name: str
    planned: bool
    base: str
    traffic: Traffic
    lengths_by: str
    costs: Costs
    why: str | None = None


def of_version(version: Version, asked: Asked, facts: Mapping[str, Any]) -> Row:
    """After: what a run took, by its record and the `facts` beside it.

    Of a version that was not trained here only what queries take. Raises UsageError where another machine is asked
    for than the one that was measured.
    """
    base, adapter, run = version.base.parameters, version.trainable_parameters, version.run
    known = facts.get("asks"), facts.get("answers")
    traffic, by = asked.traffic(None if None in known else known)  # type: ignore[arg-type]
    if run is None or run.seconds <= 0 or run.tokens <= 0:
        machine = _machine(find(asked.device or CPU), asked.price)
        why = f"{version.ref} was {version.kind}, not trained here, so nothing is known of its training"
        return Row(
            version.ref,
            False,
            version.base.id,
            traffic,
            by,
            costs(base, adapter, None, machine, traffic),
            why,
        )
    rate = training_flops(base, adapter, run.tokens) / run.seconds
    machine = _own_machine(version, run, rate, asked, facts)
    paid: Mapping[str, Any] = run.settings.get("cost") or {}
    machines = _machines(run, paid)
    money = dollars(machines * run.seconds, machine.price)
    trained = Training(
        run.seconds,
        money,
        run.settings.get("memory") or None,
        True,
        base,
        adapter,
        run.tokens,
        machines=machines,
    )
    found = costs(base, adapter, trained, machine, traffic)
    return Row(version.ref, False, version.base.id, traffic, by, found, _unknown(machine))


def _unknown(machine: Machine) -> str | None:
    """Why it is not known what a query takes."""
    if machine.bandwidth is not None:
        return None
    return NO_MACHINE if machine.name == UNNAMED else NO_BANDWIDTH.format(machine.name)


def _machines(run: Run, paid: Mapping[str, Any]) -> float:
    """How many machines a run was paid for, each by the hour."""
    hourly = dollars(run.seconds, paid.get("price_per_hour"))
    return max(1.0, round(paid["usd"] / hourly)) if hourly else 1.0


def _own_machine(version: Version, run: Run, rate: float, asked: Asked, facts: Mapping[str, Any]) -> Machine:
    """The machine of a run, as the tables know it by its name; where they do not, as fast as the run was.

    A price that is told counts, then that of a device that is named, then what was paid.
    """
    paid: Mapping[str, Any] = run.settings.get("cost") or {}
    name = paid.get("device") or facts.get("device_name") or (CPU if facts.get("device") == CPU else None)
    if asked.device is not None:
        _check_same(version, name, asked.device)
        return _machine(find(asked.device), asked.price)
    price = asked.price if asked.price is not None else paid.get("price_per_hour")
    if name is None:
        return Machine(UNNAMED, rate, price)
    try:
        return _machine(find(name), price)
    except NotFound:  # a GPU that was priced by its user and is in no table
        return Machine(name, rate, price)


def _check_same(version: Version, measured: str | None, wanted: str) -> None:
    """Refuse to set what one machine took beside what another is foretold to take."""
    if measured is None:
        return
    if wanted.lower() == CPU or measured == CPU:
        same = wanted.lower() == measured
        found = measured if wanted.lower() == CPU else find(wanted).name
    else:
        found = find(wanted).name
        try:
            same = find(measured).name == found
        except NotFound:
            same = False
    if not same:
        raise UsageError(
            f"{version.ref} was trained on {measured}, and what it took there tells nothing of {wanted}",
            f"leave --gpu-type out, or foretell a run there: {_foretelling(version)} --gpu-type {shlex.quote(found)}",
            code="another-machine",
        )


def _foretelling(version: Version) -> str:
    """The command that foretells such a run: of the domain, or of the files, that the version was trained on."""
    source: Mapping[str, Any] = (version.run.settings.get("source") if version.run else None) or {}
    words = [word for path in source.get("data") or () for word in ("--data", path)]
    words += [word for pair in source.get("map") or () for word in ("--map", pair)]
    words = words or [version.domain or "DOMAIN", "--before"]
    if version.base.id != "starter":
        words += ["--base", version.base.id]
    return shlex.join(["lftreg", "cost", *words])


def _machine(device: Device, price: float | None) -> Machine:
    """A device of the tables, at the share of its rate that training reaches."""
    from lftreg.budget.memory import usable

    machine = Machine(
        device.name,
        (device.bfloat16 if device.gpu else device.float32) * device.utilisation,
        device.price if price is None else price,
        device.seen if price is None and device.price is not None else None,
        device.memory,
        None if device.memory is None else usable(device.memory),
        device.bandwidth,
    )
    return machine if device.gpu else replace(machine, bandwidth=memory_bandwidth(), weight=WHOLE)


def of_plan(plan: Plan, asked: Asked) -> Row:
    """Before: what the pre-flight foretells. Raises NotFound where nothing is known of this machine's GPU."""
    from lftreg.budget.time import work_of
    from lftreg.training.facts import mean_lengths
    from lftreg.training.forecast import foresee

    foretold = foresee(plan, asked.device, price_per_hour=asked.price)
    if foretold.device is None or foretold.cost is None:
        raise NotFound(
            f"nothing can be foretold: {foretold.why}", "--gpu-type NAME takes another", code="unknown-device"
        )
    settings, train = plan.settings, plan.rows["train"]
    assert settings.max_steps is not None
    passes = settings.max_steps / settings.steps_a_pass(len(train))
    taken = foretold.memory
    trained = Training(
        foretold.cost.seconds,
        foretold.cost.dollars,
        None if taken is None else taken.peak,
        False,
        plan.base.record.parameters,
        work_of(plan.modules, plan.base.config, plan.targets, settings.rank).adapter,
        round(passes * train.tokens),
        None if taken is None else taken.activations + taken.workspace,
    )
    traffic, by = asked.traffic(mean_lengths(plan))
    machine = _machine(foretold.device, asked.price)
    found = costs(trained.base, trained.adapter, trained, machine, traffic)
    return Row(plan.name, True, plan.base.record.id, traffic, by, found, foretold.why or _unknown(machine))
