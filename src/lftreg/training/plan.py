"""What a run will do, decided and proven before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lftreg.data.origin import data_digest
from lftreg.errors import InvalidData, UsageError
from lftreg.models.base import FoundBase, find_base
from lftreg.models.load import load_tokenizer, stop_ids
from lftreg.models.targets import Module, list_modules, resolve_targets
from lftreg.models.tasks import CAUSAL, CLASSIFY, Task, length_limit, training_task, unit_of, vocabulary_of
from lftreg.objectives import Objective, make_objective
from lftreg.objectives.classify import labels_of
from lftreg.objectives.rows import Row, Rows, check_ids
from lftreg.plugins.check import refuse_shared
from lftreg.plugins.host import Host
from lftreg.plugins.types import SPLITS, Domain, Example, Split
from lftreg.registry import Registry
from lftreg.training.continuing import Parent, check_parent, find_parent, with_replay
from lftreg.training.settings import Settings, settings_from

CAUSAL_ONLY: dict[str, Any] = {"prompt_dropout": 0.0, "opening_weight": 1.0, "packing": False}


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before a weight is read.

    `source` says where the data comes from, so that a run can be taken up by another process: it is kept
    as it is given. `asked` are the settings that were asked for, by a user and not by a domain. `old` are the rows
    that the `parent` of this run, if it has one, held out.
    """

    name: str
    domain: Domain
    base: FoundBase
    task: Task
    labels: tuple[str, ...]
    objective: Objective
    settings: Settings
    targets: tuple[str, ...]
    modules: tuple[Module, ...]
    rows: Mapping[Split, Rows]
    data_digest: str
    notes: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    parent: Parent | None = None
    old: tuple[Row, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def examples(self) -> dict[str, int]:
        return {split: len(self.rows[split]) for split in SPLITS}

    @property
    def unit(self) -> str:
        """What the loss is counted by."""
        return unit_of(self.task.name)

    @property
    def left_out(self) -> int:
        return sum(rows.too_long for rows in self.rows.values())


def make_plan(
    domain: str | Domain,
    *,
    name: str | None,
    base: str,
    registry: Registry,
    host: Host | None = None,
    trust_code: bool = False,
    source: Mapping[str, Any] | None = None,
    continue_from: str | None = None,
    replay: float | None = None,
    **options: Any,
) -> Plan:
    """Read the data, tokenise it, choose settings and targets. Reads no weights, needs no GPU.

    `continue_from` is a REF whose factors are trained on, `replay` the share of its rows that are seen again.
    """
    host = host or Host()
    source = source or ({"domain": domain} if isinstance(domain, str) else {})
    origin = domain if isinstance(domain, Domain) else host.domain(domain)
    registry.check_name(origin.name if name is None else name)
    registry.check_files()  # now, and not after hours of training
    parent = None if continue_from is None else find_parent(continue_from, replay, registry, host)
    if parent is None and replay is not None:
        raise UsageError("--replay without --continue-from", "say which version to go on from")
    if parent is not None:
        origin = with_replay(origin, parent)
    found = find_base(base, registry, trust_code=trust_code)
    config = found.config
    decided = {} if parent is None else parent.settings
    given = settings_from({**options, **decided}, origin.defaults)
    examples = _examples(origin, given.seed)
    if "domain" in source:  # files are looked at where they are read, a program may know what it does
        refuse_shared(origin.name, examples)
    everything = [example for rows in examples.values() for example in rows]
    task = training_task(config, labelled=any(example.label is not None for example in everything))
    labels = labels_of(everything) if task is CLASSIFY else ()
    given = _that_apply(given, task, options)
    if parent is not None:
        check_parent(parent, found.record.fingerprint, task, options)
    limit = length_limit(config, given.max_length)
    tokenizer = load_tokenizer(found)
    objective = make_objective(
        task,
        tokenizer,
        stop_ids(found),
        prompt_dropout=given.prompt_dropout,
        opening_weight=given.opening_weight,
        labels=labels,
        room=limit if given.packing else None,
    )
    rows = {split: objective.encode(examples[split], limit, split) for split in SPLITS}
    size = vocabulary_of(config)
    if size is not None:
        for split in SPLITS:
            check_ids(rows[split].rows, size, split, lambda id_: str(tokenizer.decode([id_])))
    settings = given.resolved(found.record.parameters, len(rows["train"]))
    notes: list[str] = []
    modules = list_modules(config, task, code=found.folder if found.code else None)
    targets = resolve_targets(modules, config["model_type"], settings.targets, host, tell=notes.append)
    return Plan(
        name=name or origin.name,
        domain=origin,
        base=found,
        task=task,
        labels=labels,
        objective=objective,
        settings=settings,
        targets=targets,
        modules=tuple(modules),
        rows=rows,
        data_digest=data_digest(examples),
        notes=tuple(notes),
        source=source,
        parent=parent,
        old=objective.encode(parent.held_out, limit, "old").rows if parent and parent.held_out else (),
        asked={name: value for name, value in options.items() if value is not None},
    )


def _that_apply(settings: Settings, task: Task, asked: Mapping[str, Any]) -> Settings:
    """Settings without those that only a causal model knows. Raises UsageError where a user asked for one."""
    if task is CAUSAL:
        return settings
    for name, neutral in CAUSAL_ONLY.items():
        if asked.get(name) not in (None, neutral):
            raise UsageError(
                f"--{name.replace('_', '-')} is for causal language models, and this base is a {task.words}",
                "leave it out",
            )
    return replace(settings, **CAUSAL_ONLY)


def _examples(source: Domain, seed: int) -> dict[Split, list[Example]]:
    examples: dict[Split, list[Example]] = {split: list(source.build(split, seed)) for split in SPLITS}
    for split in ("train", "validation"):
        if not examples[split]:
            raise InvalidData(f"domain {source.name!r} has no {split} rows", "it needs at least one")
    return examples
