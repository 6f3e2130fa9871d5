"""What an arm of a comparison comes to: scores with their intervals, differences to the base, recall, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lftreg.evaluation.arms import WITH_SEARCH, ArmName, Asked, Material
from lftreg.evaluation.costs import Timing
from lftreg.evaluation.retrieval import recall_at
from lftreg.evaluation.statistics import bounded, compare, single
from lftreg.evaluation.suite import Item
from lftreg.models.answers import Generation
from lftreg.plugins.host import Host
from lftreg.plugins.types import Measured, Metric, Outputs

METRICS = ("token_f1", "rouge_l")  # what may be the quality
SCORES = (*METRICS, "exact_match")  # what is told of every arm
DEPTHS = (1, 3, 5)  # the k of recall@k

Interval = tuple[float, float]


@dataclass(slots=True)
class Said:
    """What an arm asked and was answered, of those items that it can be asked; `places` are theirs."""

    places: list[int]
    asked: list[Asked]
    answers: list[Generation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Arm:
    """What one arm came to, over n items. Intervals are of 95%, None for a single item.

    `delta` is the paired difference to the base on the arm's own items. `cost_per_1000` is in US dollars;
    `given_up` counts prompts that there was no room for all examples or passages in; `each` is the quality of every
    item that it was asked.
    """

    n: int
    quality: float
    ci95: Interval | None
    delta: float | None
    delta_ci95: Interval | None
    scores: Mapping[str, float]
    recall_at_k: Mapping[str, float | None] | None
    timing: Timing
    prompt_tokens: float
    tokens_per_query: float
    cost_per_1000: float | None
    given_up: int
    each: tuple[float, ...] = ()


def figures_of(
    said: Mapping[ArmName, Said],
    items: Sequence[Item],
    material: Material,
    timing: Mapping[ArmName, Timing],
    price: float | None,
    metric: str,
    host: Host,
) -> dict[ArmName, Arm]:
    """Every arm's figures; `price` is in US dollars an hour, `metric` a name of SCORES."""
    metrics = [host.metric(name) for name in SCORES]
    scored = {arm: _scored(one, items, metrics) for arm, one in said.items()}
    recall = _recall(items, material)
    return {
        arm: _arm(one, scored[arm], scored["base"] if arm != "base" else None, metric,
                  recall if arm in WITH_SEARCH else None, timing[arm], price)
        for arm, one in said.items()
    }  # fmt: skip


def _arm(
    said: Said,
    scores: Mapping[str, Sequence[float]],
    base: Mapping[str, Sequence[float]] | None,
    metric: str,
    recall: Mapping[str, float | None] | None,
    timing: Timing,
    price: float | None,
) -> Arm:
    difference = None
    if base is not None:
        alike = Measured(tuple(base[metric][place] for place in said.places))
        difference = bounded(compare(alike, Measured(tuple(scores[metric]))), 1.0)  # scores are shares
    prompt = _mean([one.tokens for one in said.asked])
    return Arm(
        n=len(said.places),
        quality=_mean(scores[metric]),
        ci95=interval(scores[metric]),
        delta=None if difference is None else difference.delta,
        delta_ci95=None if difference is None else difference.ci95,
        scores={name: _mean(values) for name, values in scores.items()},
        recall_at_k=recall,
        timing=timing,
        prompt_tokens=prompt,
        tokens_per_query=prompt + _mean([one.tokens for one in said.answers]),
        cost_per_1000=None if price is None else 1000 * timing.seconds * price / 3600,
        given_up=sum(one.given_up > 0 for one in said.asked),
        each=tuple(scores[metric]),
    )


def _scored(said: Said, items: Sequence[Item], metrics: Sequence[Metric]) -> dict[str, list[float]]:
    """The scores of each answer. Every item has a reference, so none is without one."""
    outputs = Outputs(
        prompts=tuple(items[place].prompt for place in said.places),
        references=tuple(items[place].reference for place in said.places),
        answers=tuple(answer.text for answer in said.answers),
        base=(),
    )
    return {metric.name: [value or 0.0 for value in metric.measure(outputs).values] for metric in metrics}


def _recall(items: Sequence[Item], material: Material) -> dict[str, float | None]:
    ranked = [material.index.search(item.prompt, max(DEPTHS)) for item in items]
    gold = [material.gold[item] for item in items]
    return {str(k): recall_at(ranked, gold, k) for k in DEPTHS}


def interval(values: Sequence[float]) -> Interval | None:
    """The interval of 95% of a mean of shares, within 0 and 1; None for fewer than two."""
    found = single(Measured(tuple(values))).ci95
    return found and (max(found[0], 0.0), min(found[1], 1.0))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
