"""What a difference between two speakers is worth: interval, p-value, and whether one of them won.

Base and adapter answer the same items, so everything is paired. The mean of item values gets a paired t
(Student 1908). A score that is no mean, such as corpus BLEU, gets the jackknife (Quenouille 1956, Tukey 1958) with a
quantile of t, which for a mean is the paired t exactly. Beyond `GROUPED` items groups are left out instead of items.

Nothing here knows text or models. Items are taken as independent draws; several wordings of one fact are not
quite that, and then intervals are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lftreg.evaluation.extras import extra
from lftreg.plugins.types import ENOUGH, Measured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

ALPHA = 0.05  # two-sided, after Holm
POWER = 0.80  # of the minimum detectable effect
GROUPED = 400  # items above which the jackknife leaves out groups
GROUPS = 200
_Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_ROUNDING = 1e-9  # of the largest value: differences that differ by less are equal

__all__ = [
    "ALPHA",
    "ENOUGH",
    "POWER",
    "Difference",
    "Single",
    "adjust",
    "auc",
    "compare",
    "holm",
    "single",
    "wilson",
]

Interval = tuple[float, float]
Direction = Literal["higher", "lower"] | None
Winner = Literal["adapter", "base"] | None


@dataclass(frozen=True, slots=True)
class Single:
    """The score of one speaker. `n` items count; `value` is None where there is none, `ci95` below two."""

    n: int
    value: float | None
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class Difference:
    """An adapter beside the base on the same items.

    `n` items have a value on both sides, and only they count. `delta` is adapter minus base, `ci95` its
    interval, `p` two-sided, `adjusted` the same after Holm. `mde` is the smallest true difference that so many
    items with the observed spread would show in 80 of 100 evaluations. None is what cannot be said: everything
    without items; interval, p and mde of one item or of a score that is infinite; mde without any spread.
    """

    n: int
    base: float | None
    adapter: float | None
    delta: float | None
    ci95: Interval | None
    p: float | None
    adjusted: float | None
    mde: float | None
    better: Direction
    measurable: bool = True

    @property
    def winner(self) -> Winner:
        """Who is better: nobody with fewer than `ENOUGH` items, or where chance explains the difference."""
        if self.better is None or not self.measurable or self.n < ENOUGH:
            return None
        if self.adjusted is None or self.adjusted >= ALPHA or not self.delta:
            return None
        return "adapter" if (self.delta > 0) == (self.better == "higher") else "base"


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A figure, its standard error, the degrees of freedom of that, and how large the figure can be.

    `p` is the p-value where the t has none to give.
    """

    value: float
    error: float
    freedom: int
    p: float | None = None
    most: float = math.inf

    @property
    def ci95(self) -> Interval:
        half = self._quantile(1 - ALPHA / 2) * self.error
        return max(-self.most, self.value - half), min(self.most, self.value + half)

    @property
    def p_value(self) -> float:
        if self.p is not None:
            return self.p
        return float(2 * extra("scipy.special").stdtr(self.freedom, -abs(self.value / self.error)))

    @property
    def mde(self) -> float | None:
        """None where the spread is zero: items that all agree do not tell how much others may differ."""
        return (self._quantile(1 - ALPHA / 2) + self._quantile(POWER)) * self.error or None

    def _quantile(self, share: float) -> float:
        return float(extra("scipy.special").stdtrit(self.freedom, share))


def compare(
    base: Measured, adapter: Measured, better: Direction = "higher", p_value: float | None = None
) -> Difference:
    """The paired difference of one metric on the same items in the same order.

    `p_value` is from a test of the metric's own and stands in the place of the t's. Raises ValueError where the
    two do not have the same number of items.
    """
    if len(base.values) != len(adapter.values):
        raise ValueError(f"{len(base.values)} items beside {len(adapter.values)}")
    places = _places(base, adapter)
    measurable = base.measurable and adapter.measurable
    if not len(places):
        return Difference(0, None, None, None, None, None, None, None, better, measurable)
    first, second = _score(base, places), _score(adapter, places)
    delta = None if first is None or second is None else second - first
    found = _difference(base, adapter, places) if _finite(delta) and len(places) > 1 else None
    p = None if found is None else found.p_value if p_value is None else p_value
    return Difference(
        n=len(places),
        base=first,
        adapter=second,
        delta=delta,
        ci95=None if found is None else found.ci95,
        p=p,
        adjusted=p,
        mde=None if found is None else found.mde,
        better=better,
        measurable=measurable,
    )


def bounded(found: Difference, most: float | None) -> Difference:
    """A difference of two figures that have an end, within it; what no figure could show is not detectable."""
    if most is None or found.ci95 is None:
        return found
    low, high = found.ci95
    mde = None if found.mde is None or found.mde > most else found.mde
    return replace(found, ci95=(max(low, -most), min(high, most)), mde=mde)


def single(measured: Measured) -> Single:
    """One speaker's score with its interval: Wilson's where every item is right or wrong, else t or jackknife."""
    places = _places(measured)
    if not len(places):
        return Single(0, None, None)
    value = _score(measured, places)
    values = _values(measured)[places]
    if measured.total is None and _binary(values):
        return Single(len(places), value, wilson(float(values.sum()), len(places)))
    if not _finite(value) or len(places) < 2:
        return Single(len(places), value, None)
    found = _mean(values) if measured.total is None else _jackknife(measured.total, places)
    return Single(len(places), value, None if found is None else found.ci95)


def adjust(differences: Sequence[Difference]) -> list[Difference]:
    """The differences of several adapters by one metric, their p-values adjusted for being several."""
    adjusted = holm([difference.p for difference in differences])
    return [replace(d, adjusted=p) for d, p in zip(differences, adjusted, strict=True)]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values (Holm 1979): with all of them under 5 %, any false one has a chance under 5 %.

    In the order given. None, where there was nothing to test, stays None and does not count.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = highest
    return adjusted


def wilson(wins: float, n: int) -> Interval:
    """The 95 % score interval of a share (Wilson 1927); (0, 1) without a trial. A tie may count as half a win."""
    if n == 0:
        return 0.0, 1.0
    share, square = wins / n, _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def auc(positive: Floats | Sequence[float], negative: Floats | Sequence[float]) -> float | None:
    """How often a positive scores above a negative, a tie counting half (Mann and Whitney 1947).

    0.5 is chance. None where either is empty.
    """
    import numpy as np

    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(np.asarray(negative, float))
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(ordered)))


def _places(*speakers: Measured) -> Places:
    """Indices of the items that count. A metric without a single item value counts all: it has totals only."""
    import numpy as np

    known = [~np.isnan(_values(one)) for one in speakers if one.total is None or _has_values(one)]
    return np.flatnonzero(np.logical_and.reduce(known, axis=0) if known else np.ones(len(speakers[0].values)))


def _has_values(measured: Measured) -> bool:
    return any(value is not None for value in measured.values)


def _values(measured: Measured) -> Floats:
    """Item values as float64 (n,), NaN for None."""
    import numpy as np

    return np.array([math.nan if value is None else value for value in measured.values], float)


def _score(measured: Measured, places: Places) -> float | None:
    """The score of these items together; None where a total is NaN, which says that there is none."""
    score = float(_values(measured)[places].mean() if measured.total is None else measured.total(places))
    return None if math.isnan(score) else score


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _difference(base: Measured, adapter: Measured, places: Places) -> _Estimate | None:
    first, second = _values(base)[places], _values(adapter)[places]
    one, other = base.total, adapter.total
    if one is None or other is None:
        return _mean(second - first, of_shares=_binary(first) and _binary(second))
    return _jackknife(lambda some: other(some) - one(some), places)


def _mean(values: Floats, of_shares: bool = False) -> _Estimate:
    """The mean of n values with its standard error. `of_shares`: they are differences of right and wrong."""
    n, mean = len(values), float(values.mean())
    most = 1.0 if of_shares else math.inf
    spread = float(values.std(ddof=1))
    if spread > _ROUNDING * float(abs(values).max()):
        return _Estimate(mean, spread / math.sqrt(n), n - 1, None, most)
    return _Estimate(mean, _half_an_item(mean, n) if of_shares else 0.0, n - 1, _equal(mean, n), most)


def _equal(value: float, n: int) -> float:
    """The p-value of n differences that are all the same, for which there is no t.

    Without any difference 1. Else the smallest that n signs can give (Fisher's sign-flip test, 1935): that all of them
    point one way by chance. Zero, the limit of t, would be a claim that no data can bear.
    """
    return 1.0 if value == 0 else 2.0 ** (1 - n)


def _half_an_item(mean: float, n: int) -> float:
    """The standard error of a difference of shares whose pairs all fell out alike.

    As if half an item more had fallen into each of the four cells of the table (Agresti and Min 2005,
    doi:10.1002/sim.1781): n items that agree do not prove that the next one does.
    """
    more = n + 2
    gained, lost = (n * max(mean, 0.0) + 0.5) / more, (n * max(-mean, 0.0) + 0.5) / more
    return math.sqrt((gained + lost - (gained - lost) ** 2) / more)


def _binary(values: Floats) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _jackknife(total: Callable[[Places], Any], places: Places) -> _Estimate | None:
    """A total with its jackknife error, leaving out items, or groups of them where there are many.

    Groups need not be of one size (Busing, Meijer and van der Leeden 1999, doi:10.1023/A:1008800423698); with one item
    a group it is the ordinary jackknife. None where the total of some of the items is no finite number.
    """
    import numpy as np

    n = len(places)
    groups = _groups(n)
    whole = total(places)
    left = np.array([total(np.delete(places, group)) for group in groups])
    if not np.isfinite(left).all():
        return None
    ratio = n / np.array([len(group) for group in groups])
    middle = len(groups) * whole - ((1 - 1 / ratio) * left).sum()
    pseudo = ratio * whole - (ratio - 1) * left
    error = math.sqrt(float(((pseudo - middle) ** 2 / (ratio - 1)).mean()))
    if error > _ROUNDING * float(max(abs(pseudo).max(), abs(whole))) / math.sqrt(n):
        return _Estimate(whole, error, len(groups) - 1)
    return _Estimate(whole, 0.0, len(groups) - 1, _equal(whole, n))


def _groups(n: int) -> list[Places]:
    """Which of n items are left out together: each alone, or dealt to `GROUPS` groups at random, by a fixed seed."""
    import numpy as np

    order = np.arange(n) if n <= GROUPED else np.random.default_rng(0).permutation(n)
    return np.array_split(order, n if n <= GROUPED else GROUPS)
