"""Who is best at a suite, as far as the kept scores can tell.

Only scores of one suite digest and one decoding digest stand in one ranking. A rank is one more than the number of
adapters that are better by more than chance: by a paired t-test over the items, adjusted for the number of
comparisons (Holm 1979). Scores of a whole suite, such as BLEU, are tested by those of its items. So those that cannot
be told apart share a rank, and under fifty items all of them do. Items that one of two was trained on count in no
comparison of them, and who was trained on all of them has no rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lftreg.errors import CheckFailed, InvalidReference, NotFound
from lftreg.plugins.types import Measured
from lftreg.registry import Registry, Score

# What a ranking goes by where nobody names a metric: the first that its scores have.
OF_ITS_BASE = (
    "perplexity",
    "style",
    "relevance",
)  # a token, an answer or a vector of a base is another base's other
SHORTEST = 4  # figures of a digest that name a suite
MAIN = ("pass_at_1", "rouge_l", "chrf", "exact_match", "bits_per_byte")


@dataclass(frozen=True, slots=True)
class Place:
    """An adapter, or a bare base, in a ranking. `refs` are the versions that have this content by now.

    `rank` is None for one that was trained on every item: what it shows is memory.
    """

    rank: int | None
    refs: tuple[str, ...]
    score: Score
    summary: Mapping[str, Any]

    @property
    def value(self) -> float:
        value: float = self.summary["value"]
        return value

    @property
    def seen(self) -> int:
        """How many items it was trained on."""
        return len(_seen(self.score))

    def shown(self, metric: str) -> Mapping[str, Any] | None:
        """The summary of a metric; where training has seen some items, its figures are of the others."""
        found = self.score.metrics.get(metric)
        return None if found is None else _shown(self.score, found)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The places of one suite, decoding and metric, best first. `metrics` are all that could be ranked by."""

    suite: str
    suite_digest: str
    decoding: Mapping[str, Any]
    decoding_digest: str
    n: int
    metric: str
    metrics: tuple[str, ...]
    places: tuple[Place, ...]


def rankings(registry: Registry, suite: str | None = None, metric: str | None = None) -> list[Ranking]:
    """Every ranking that the kept scores make, those of the most items first, of equals that with the newest score.

    `suite` is a name, or the beginning of a digest, of four figures or more. Raises NotFound where nothing was scored,
    InvalidReference for a beginning that several suites have.
    """
    groups: dict[tuple[str, str], dict[str, Score]] = {}
    for score in _of_suite(registry.scores.newest(), suite):
        group = groups.setdefault((score.suite_digest, score.decoding_digest), {})
        group[score.digest] = score
    found = [_ranking(registry, list(group.values()), metric) for group in groups.values()]
    kept = [ranking for ranking in found if ranking is not None]
    if not kept:
        raise NotFound(
            "no score can be ranked" if metric is None else f"no score can be ranked by {metric!r}",
            "`lftreg metrics` tells which way each metric is better",
            code="no-scores",
        )
    return sorted(kept, key=lambda ranking: -ranking.n)


def _of_suite(scores: Sequence[Score], suite: str | None) -> list[Score]:
    """The scores of a suite by its name, or by the beginning of its digest; all where none is named."""
    if suite is None:
        if not scores:
            raise NotFound("nothing was evaluated yet", "lftreg eval REF", code="no-scores")
        return list(scores)
    named = [score for score in scores if score.suite == suite]
    if named:
        return named
    start = suite.removeprefix("sha256:")
    found = [score for score in scores if start and score.suite_digest.startswith(start)]
    digests = sorted({score.suite_digest for score in found})
    if not found:
        known = ", ".join(sorted({score.suite for score in scores}))
        hint = f"suites: {known}" if known else "lftreg eval REF"
        raise NotFound(f"nothing was evaluated on {suite!r} yet", hint, code="no-scores")
    if len(start) < SHORTEST or len(digests) > 1:
        few = len(start) < SHORTEST
        raise InvalidReference(
            f"{suite!r} is too short for a digest" if few else f"{len(digests)} suites begin with {suite!r}",
            f"give {SHORTEST} figures or more, or a name: {', '.join(one[:12] for one in digests)}",
            code="ambiguous",
        )
    return found


def _ranking(registry: Registry, scores: Sequence[Score], metric: str | None) -> Ranking | None:
    one_base = len({score.base.fingerprint for score in scores}) == 1
    names = [
        name
        for name in dict.fromkeys(name for score in scores for name in score.metrics)
        if any(_figure(score, name) is not None for score in scores)
        and any(score.metrics[name]["better"] for score in scores if name in score.metrics)
        and (one_base or name not in OF_ITS_BASE)
    ]
    chosen = metric or next((name for name in (*MAIN, *names) if name in names), None)
    if chosen not in names:
        return None
    known = [score for score in scores if _figure(score, chosen) is not None]
    lower = known[0].metrics[chosen]["better"] == "lower"
    known.sort(
        key=lambda score: (
            len(_seen(score)) == score.n,
            _shown(score, score.metrics[chosen])["value"] * (1 if lower else -1),
            score.digest,
        )
    )
    ranks = _ranks([_values(registry, score, chosen) for score in known], lower)
    first = known[0]
    return Ranking(
        first.suite,
        first.suite_digest,
        first.decoding,
        first.decoding_digest,
        first.n,
        chosen,
        tuple(names),
        tuple(
            Place(
                None if len(_seen(score)) == score.n else rank,
                _refs(registry, score),
                score,
                score.metrics[chosen],
            )
            for rank, score in zip(ranks, known, strict=True)
        ),
    )


def _seen(score: Score) -> frozenset[int]:
    """The places of the items that training has seen."""
    return frozenset(score.facts.get("contaminated") or ())


def _shown(score: Score, summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """A summary with figures of the items that training has not seen; without differences where it has seen all."""
    if len(_seen(score)) == score.n:
        return {**summary, "delta": None, "ci95": None, "p": None}
    clean = summary.get("clean") or {}
    figures = {key: clean[key] for key in ("value", "delta", "ci95", "p") if key in clean}
    return {**summary, **figures} if clean.get("value") is not None else summary


def _figure(score: Score, metric: str) -> float | None:
    found = score.metrics.get(metric)
    return found["value"] if found and found["measurable"] else None


def _values(registry: Registry, score: Score, metric: str) -> list[float | None]:
    """The value of every item, None of those that training has seen."""
    seen = _seen(score)
    try:
        rows = registry.scores.items(score)
        values = [None if at in seen else row["scores"].get(metric) for at, row in enumerate(rows)]
    except CheckFailed:
        return [None] * score.n  # whose items are lost cannot be told apart from anybody
    return [None if v is None else math.log(v) for v in values] if metric == "perplexity" else values


def _ranks(values: Sequence[Sequence[float | None]], lower: bool) -> list[int]:
    """One more than the number of rows that are better by more than chance. Rows stand best first."""
    from lftreg.evaluation.statistics import ALPHA, ENOUGH, compare, holm

    pairs = [(one, other) for other in range(len(values)) for one in range(other)]
    chances: list[float | None] = []
    for one, other in pairs:
        found = compare(Measured(tuple(values[other])), Measured(tuple(values[one])))
        ahead = (found.delta or 0.0) * (-1 if lower else 1) > 0
        chances.append(found.p if ahead and found.n >= ENOUGH else 1.0)
    ranks = [1] * len(values)
    for (_, other), p in zip(pairs, holm(chances), strict=True):
        ranks[other] += p is not None and p < ALPHA
    return ranks


def _refs(registry: Registry, score: Score) -> tuple[str, ...]:
    """The versions of this content; of one that is gone, how it was called."""
    if score.of_base:
        return (f"base:{score.base.id}",)
    held = registry.list(digest=score.digest, all_versions=True)
    return tuple(version.ref for version in reversed(held)) or (f"{score.ref} (removed)",)
