"""What is known of rows, modules and base before the first step, written down for whoever judges the run later.

A few figures, and no row: they are kept with a run's request and beside its version.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lftreg.models.targets import adapted_by
from lftreg.models.tasks import CAUSAL, length_limit
from lftreg.objectives.rows import IGNORED, Row
from lftreg.plugins.types import SPLITS
from lftreg.training.plan import Plan

OFTEN = 0.95  # the share of rows that the length `p95` holds


def facts_of(plan: Plan) -> dict[str, Any]:
    """Counts by split, lengths in tokens, what repeats itself, what is adapted, and what was asked for.

    `left_out` counts rows over the length limit; `repeated` is the share of train rows that an earlier one
    equals, `contradicted` the share whose prompt has several answers; `ended` is the share of answers that end in
    a stop token which is learned, None where rows are no conversations; `adapted` maps a module's name to the
    number of layers that adapt it and of those that have it; `asks` and `answers` are mean tokens of a train row.
    """
    import torch

    train = plan.rows["train"].rows
    lengths = sorted(row.length for row in train)
    asks, answers = mean_lengths(plan)
    cuda = torch.cuda.is_available()
    return {
        "task": plan.task.name,
        "unit": plan.unit,
        "asked": dict(plan.asked),
        "rows": plan.examples,
        "left_out": {split: plan.rows[split].too_long for split in SPLITS},
        "limit": length_limit(plan.base.config, plan.settings.max_length),
        "longest": max(plan.rows[split].longest for split in SPLITS),
        "p95": lengths[min(len(lengths) - 1, int(OFTEN * len(lengths)))],
        "learned": sum(row.learned for row in train) / max(1, sum(row.length for row in train)),
        "repeated": 1 - len({(row.ids, row.labels) for row in train}) / len(train),
        "contradicted": _contradicted(train) if plan.task is CAUSAL else None,
        "ended": _ended(train, plan),
        "adapted": _adapted(plan),
        "base_parameters": plan.base.record.parameters,
        "steps_a_pass": plan.settings.steps_a_pass(len(train)),
        "asks": asks,
        "answers": answers,
        "device": "cuda" if cuda else "cpu",
        "device_name": torch.cuda.get_device_name() if cuda else "cpu",
    }


def mean_lengths(plan: Plan) -> tuple[float, float]:
    """The mean tokens of what a train row asks, and of what it answers."""
    rows = plan.rows["train"].rows
    count = max(1, len(rows))
    answers = sum(row.learned for row in rows) / count
    read = sum(len(row.ids) for row in rows) / count
    return (read - answers if plan.task is CAUSAL else read), answers


def _contradicted(rows: Sequence[Row]) -> float:
    """The share of rows whose prompt, to the token, has another answer elsewhere."""
    answers: defaultdict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
    asked = Counter(map(_prompt, rows))
    for row in rows:
        answers[_prompt(row)].add(row.ids)
    return sum(asked[prompt] for prompt, said in answers.items() if prompt and len(said) > 1) / len(rows)


def _prompt(row: Row) -> tuple[int, ...]:
    """What stands before the first token that is learned; empty where there is nothing but a mark."""
    at = next((at for at, label in enumerate(row.labels) if label != IGNORED), 0)
    return row.ids[:at] if at > 1 else ()


def _ended(rows: Sequence[Row], plan: Plan) -> float | None:
    stop_ids = getattr(getattr(plan.objective, "chat", None), "stop_ids", None)
    talks = [row for row in rows if _prompt(row)]
    if stop_ids is None or not talks:
        return None
    return sum(row.labels[-1] in stop_ids for row in talks) / len(talks)


def _adapted(plan: Plan) -> Mapping[str, tuple[int, int]]:
    """Linear modules by the last part of their name: how many are adapted, and how many there are."""
    linear = [module for module in plan.modules if module.linear and not module.head]
    there = Counter(module.name.rpartition(".")[2] for module in linear)
    hit = Counter(module.name.rpartition(".")[2] for module in adapted_by(plan.targets, linear))
    return {name: (hit[name], of) for name, of in there.items()}
