"""The weights of a composition, found on data: `lftreg compose a b c --fit FILE`.

The factors are fixed, so a mixture of N adapters has N numbers to find (or N a layer), and a few dozen forward
passes find them (LoraHub, Huang et al. 2023, arXiv 2307.13269, does it without gradients; with one adapter's
factors beside the other's a gradient costs no more than in training). What is found is then measured on rows
that it was not chosen by, beside every adapter alone and beside random adapters that were fitted alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lftreg.composer.fitting.judge import Compared, Kind, compare, judge
from lftreg.composer.fitting.mixture import Mixture, mixture_of
from lftreg.composer.fitting.search import BATCH, Found, Trial, search, some
from lftreg.composer.listening import Listener, silent
from lftreg.composer.plan import Plan, make_plan
from lftreg.data.files import read_data
from lftreg.data.origin import data_digest
from lftreg.data.splits import key_of
from lftreg.errors import Incompatible, InvalidData, LftregError, UsageError
from lftreg.models.base import FoundBase, find_base, same_base
from lftreg.models.load import load_base, load_tokenizer, stop_ids
from lftreg.models.tasks import CLASSIFY, MASKED, Task, length_limit, task_of, unit_of
from lftreg.objectives import Objective, make_objective
from lftreg.objectives.rows import Row
from lftreg.plugins.host import Host
from lftreg.plugins.types import SPLITS, Example, Split
from lftreg.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

PER: tuple[str, ...] = ("adapter", "layer")
STEPS = 40
VALIDATED = 64  # rows that a validation looks at
DECIMALS = 4  # of a weight: the fifth moves no loss, and a recipe is read by people
JUDGED = 512  # held-out rows that everything is measured on


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights that were found on data, and whether they are worth having.

    `weights` are one a parent, in the order of `parents`, None where `per` is "layer"; then `layers` holds one
    mapping a parent, from blocks such as `model.layers.3` (`*` for what is in none) to weights. `start` is where
    the steps began (`equal`, the REF of one adapter, `all` at 1, `base`), `best_step` the step that the
    weights are from, 0 where no step improved on the start. `forwards` counts the passes that the search took,
    those of validations too. `rows` counts the rows used of each split, `prompts` the different ones held
    out, `left_out` rows longer than the limit; `data_digest` is of the rows used. Losses are in nats a `unit`.
    Weights have four decimals, and are compared as such: what is composed with them is what was measured.
    """

    parents: tuple[str, ...]
    digests: tuple[str, ...]
    per: str
    weights: tuple[float, ...] | None
    layers: tuple[Mapping[str, float], ...] | None
    start: str
    steps: int
    best_step: int
    forwards: int
    validation_start: float
    validation: float
    rows: Mapping[Split, int]
    prompts: int
    left_out: int
    unit: str
    seed: int
    data_digest: str
    compared: tuple[Compared, ...]
    beats_best_single: bool
    verdict: str
    seconds: float

    @property
    def composed(self) -> list[float] | dict[str, dict[str, float]]:
        """What `compose` takes as `weights`: a number for each parent, or rules by layer for each place."""
        if self.weights is not None:
            return list(self.weights)
        assert self.layers is not None
        ordered = [{"*": own["*"], **own} if "*" in own else dict(own) for own in self.layers]
        return {str(place): own for place, own in enumerate(ordered, start=1)}


@dataclass(frozen=True, slots=True)
class _Data:
    """Encoded rows; `keys` say which prompt a held-out row belongs to."""

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    keys: Sequence[str]
    left_out: int
    digest: str


def fit_weights(
    parents: Sequence[str],
    files: Sequence[str | Path],
    *,
    per: Literal["adapter", "layer"] = "adapter",
    columns: Mapping[str, str] | None = None,
    base: str | None = None,
    steps: int = STEPS,
    seed: int = 0,
    max_length: int | None = None,
    dtype: str = "auto",
    trust_code: bool = False,
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = silent,
) -> Fitted:
    """Find the weights at which adapters of one base, summed, explain some rows best. Registers nothing.

    `parents` are REFs without weights, one or more; `files` and `columns` are what `lftreg train` takes, and are
    split the same way, by a hash of the prompt or the column `split`. The steps see rows of train, the best of them
    is chosen on validation, and test is for the comparison alone. `base` names another place of the very same
    base. Same arguments, machine and number of threads, same weights. Ctrl-C leaves nothing behind. Raises a
    subclass of LftregError where anything does not fit.
    """
    started = time.monotonic()
    _check(per, steps, max_length)
    registry = registry or Registry()
    plan = _plan([parents] if isinstance(parents, str) else parents, registry, host or Host())
    found = _base(plan, base, registry, trust_code)
    task = _task(plan, found, registry)
    examples = _examples(files, columns, task, seed, steps)
    objective = make_objective(task, load_tokenizer(found), stop_ids(found))
    data = _encode(objective, examples, length_limit(found.config, max_length))
    listen("loading the base")
    loaded = load_base(found, dtype, task=task)
    for parent in plan.parents:
        registry.weights(parent.version)
    stack = mixture_of(loaded.model, plan.parents, plan.layers)
    trial = Trial(loaded.model, objective, stack)
    best = _search(trial, data, per, steps, seed, listen)
    listen("fitting random adapters alike", steps)
    control = Trial(loaded.model, objective, stack.at_random(seed))
    other = _search(control, data, per, steps, seed)
    listen("comparing on the held-out rows", steps)
    refs = [parent.version.ref for parent in plan.parents]
    compared = _compared(trial, best, control, other, refs, data, seed)
    prompts = len(set(data.keys))
    beats, verdict = judge(compared, unit_of(task.name), prompts)
    return Fitted(
        parents=tuple(refs),
        digests=tuple(parent.version.digest for parent in plan.parents),
        per=per,
        weights=tuple(_decimals(best.weights[0])) if per == "adapter" else None,
        layers=_by_layer(best, stack) if per == "layer" else None,
        start=refs[int(best.start)] if best.start.isdigit() else best.start,
        steps=steps,
        best_step=best.best_step,
        forwards=best.forwards,
        validation_start=best.start_loss,
        validation=best.loss,
        rows={"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        prompts=prompts,
        left_out=data.left_out,
        unit=unit_of(task.name),
        seed=seed,
        data_digest=data.digest,
        compared=compared,
        beats_best_single=beats,
        verdict=verdict,
        seconds=time.monotonic() - started,
    )


def _check(per: str, steps: int, max_length: int | None) -> None:
    if per not in PER:
        raise UsageError(f"weights cannot be found per {per!r}", f"one of {', '.join(PER)}")
    if steps < 1:
        raise UsageError(f"{steps} steps find nothing", "give 1 or more; 40 are usual")
    if max_length is not None and max_length < 1:
        raise UsageError(f"--max-length {max_length} makes no sense", "give 1 or more")


def _plan(parents: Sequence[str], registry: Registry, host: Host) -> Plan:
    """The parents, checked as `--method cat` does, which is what their weights are for."""
    plan = make_plan(
        parents, name="fit", method="cat", options={}, dtype="auto", registry=registry, host=host
    )
    seen: dict[str, str] = {}
    for parent in plan.parents:
        ref = parent.version.ref
        if parent.weight != 1:
            raise UsageError(
                f"{ref} comes with a weight, {parent.weight:g}, and the weights are what is looked for",
                "name the adapters without weights",
                code="weights",
            )
        if parent.version.digest in seen:
            raise UsageError(
                f"{seen[parent.version.digest]} and {ref} are the same adapter: no data tells their weights apart",
                "name each adapter once",
                code="same-adapter",
            )
        seen[parent.version.digest] = ref
    return plan


def _base(plan: Plan, base: str | None, registry: Registry, trust_code: bool) -> FoundBase:
    if base is None:
        return same_base(plan.base, registry, trust_code=trust_code)
    found = find_base(base, registry, trust_code=trust_code)
    if found.record.fingerprint != plan.base.fingerprint:
        raise Incompatible(
            f"{plan.parents[0].version.ref} was made for another base than {base}: {plan.base.id} "
            f"({plan.base.fingerprint[:12]})",
            "leave the base out: it is the adapters' own",
            code="different-bases",
        )
    return found


def _task(plan: Plan, base: FoundBase, registry: Registry) -> Task:
    """What all parents were trained for."""
    tasks = {p.version.ref: task_of(base.config, registry.config(p.version)) for p in plan.parents}
    (first, task), *others = tasks.items()
    for ref, other in others:
        if other != task:
            raise Incompatible(
                f"{first} is an adapter of a {task.words} and {ref} of a {other.words}",
                "data has one task: fit adapters of one",
                code="different-tasks",
            )
    if task is CLASSIFY:
        raise Incompatible(
            f"{first} is a classifier, whose labels are in a head of its own and not in its factors",
            "fit adapters of a language model",
            code="classifier",
        )
    return task


def _examples(
    files: Sequence[str | Path], columns: Mapping[str, str] | None, task: Task, seed: int, steps: int
) -> dict[Split, list[Example]]:
    """The rows of each split that will be used: no more than the steps can see."""
    if not files:
        raise UsageError("no file to fit the weights on", "--fit FILE", code="no-file")
    data = read_data(files, columns=columns)
    examples = {**data.examples, "train": tuple(data.domain.build("train", seed))}  # as often as weights say
    if not examples["test"]:
        raise InvalidData(
            "no row falls to test, so nothing could tell whether the weights are worth having",
            "add rows, or name some `test` in the column `split`",
            code="few-rows",
        )
    if task is MASKED and any(example.label is not None for rows in examples.values() for example in rows):
        raise InvalidData(
            "the rows have labels, and these adapters were trained on texts alone",
            "give texts without labels",
            code="labelled",
        )
    most: dict[Split, int] = {"train": steps * BATCH, "validation": VALIDATED, "test": JUDGED}
    return {split: some(examples[split], most[split], seed) for split in SPLITS}


def _encode(objective: Objective, examples: Mapping[Split, Sequence[Example]], limit: int) -> _Data:
    encoded = {split: objective.encode(examples[split], limit, split) for split in SPLITS}
    rows: list[Row] = []
    keys: list[str] = []
    for example in examples["test"]:  # once more, one by one: a text may be several rows
        try:
            made = objective.encode([example], limit, "test").rows
        except InvalidData:  # longer than the limit, and so left out above
            continue
        rows += made
        keys += [key_of(example)] * len(made)
    return _Data(
        encoded["train"].rows,
        encoded["validation"].rows,
        objective.held_out(rows),
        keys,
        sum(one.too_long for one in encoded.values()),
        data_digest(examples),
    )


def _search(
    trial: Trial,
    data: _Data,
    per: str,
    steps: int,
    seed: int,
    listen: Listener = silent,
) -> Found:
    rows = len(trial.stack.blocks) if per == "layer" else 1
    best = search(trial, data.train, data.validation, rows=rows, steps=steps, seed=seed, listen=listen)
    return replace(best, weights=best.weights.round(decimals=DECIMALS))


def _compared(
    trial: Trial, best: Found, control: Trial, other: Found, refs: Sequence[str], data: _Data, seed: int
) -> tuple[Compared, ...]:
    """Everything on the held-out rows, through the same stack. One adapter has no equal shares to compare."""
    import numpy as np
    import torch

    adapters = len(refs)
    none = torch.zeros(1, adapters, device=best.weights.device)
    each = torch.eye(adapters, device=best.weights.device)
    candidates: list[tuple[str, Kind, Trial, Tensor]] = [("the bare base", "base", trial, none)]
    candidates += [(ref, "single", trial, each[n : n + 1]) for n, ref in enumerate(refs)]
    if adapters > 1:
        candidates.append(("equal weights", "equal", trial, none + 1 / adapters))
    candidates.append(("the fit", "fit", trial, best.weights))
    candidates.append(("random adapters", "control", control, other.weights))
    sums = np.stack([on.losses(weights, data.test) for _, _, on, weights in candidates])
    for (name, *_), row in zip(candidates, sums, strict=True):
        if not np.isfinite(row).all():
            raise LftregError(
                f"the loss of {name} is no number on the held-out rows",
                "nothing was registered; leave out the adapter that overflows",
                code="not-finite",
            )
    learned = [row.learned for row in data.test]
    return compare([(name, kind) for name, kind, _, _ in candidates], sums, learned, data.keys, seed)


def _by_layer(best: Found, stack: Mixture) -> tuple[Mapping[str, float], ...]:
    """One mapping an adapter, from blocks to weights."""
    return tuple(dict(zip(stack.blocks, _decimals(column), strict=True)) for column in best.weights.T)


def _decimals(weights: Tensor) -> list[float]:
    """Rounded float32 as the decimals that they stand for."""
    return [round(weight, DECIMALS) for weight in weights.tolist()]
