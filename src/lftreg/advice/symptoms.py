"""What is measured of a run's signals before anything is said of it. Every threshold stands here, with its reason.

They were set on runs of seeds 0 to 2 of `benchmarks/doctor.py` and are judged by its other seeds.
"""

from __future__ import annotations

import math

from lftreg.advice.signals import Point, Signals, mean, median, window
from lftreg.training.settings import LEARNING_RATES

TINY = 1e-9  # nats; nothing is divided by less
STILL = 0.01  # a loss that fell by less has not moved: noise of a validation of a few hundred tokens is about that
SLOW = 0.1  # a fall this small is the learning rate's, where that is
FAR = 10  # so many times under what is usual for the base
ALIVE = 1e-3  # a gradient norm that is healthy: dead ones are exactly 0, those of real runs 0.05 to 20
UP = 1.3  # so many times its start: no healthy run's mean of five steps rose over 1.15
RECOVERED = 0.5  # a run that lost half of its loss in the end is none that went astray
NUMB = 0.1  # of the norm at the start, while the loss is high: runs astray show 0.005 to 0.04, healthy ones 0.1 to 1
ASTRAY = 1.02  # ending so much over a start that a validation measured is no noise
ASTRAY_BY_STEPS = 1.2  # where the start is that of a few steps alone, whose rows may be easy ones
LEARNED = 0.87  # of the start: a mean of five steps this low is more than an easy batch
BACK = 1.2  # so many times its lowest, and a run has lost again what it had learned
FAR_BACK = 1.5  # the same for a run that once had lost half of its loss: steps of one row jump by 1.26
MEMORISED = 0.35  # nats a token: below it a model has seen the rows, whatever the language
APART = 3.0  # validation over training loss at the end: overfit runs show 4 to 100, healthy ones at most 2.1
GAP = 0.2  # nats: less between the two losses costs nobody anything, however many times it is
SURE = 0.98  # the share of train tokens that is known by heart
FEW_STEPS = 20  # optimizer steps; under this nothing is learned at any usual rate
STEEP = 0.2  # of the whole fall in the last quarter of the steps; with a decaying rate healthy runs have 0.03
RISING = 0.6  # the part of a run after which a warm-up should be long over
WIDE = 5  # steps of a running mean, at least


def start(signals: Signals) -> float:
    """The loss before anything was learned: the first validation, or the least of the first three steps.

    Of the steps the least, as the second may be far up already where a rate is far too high; of the two the
    larger, as train rows may be harder than those that are held out.
    """
    return max(signals.before or TINY, min((point.loss for point in signals.points[:3]), default=TINY))


def rolling(points: tuple[Point, ...]) -> list[float]:
    """Means of five steps in a row, or of a tenth of a longer run: a few odd rows are no trend."""
    losses = [point.loss for point in points]
    wide = min(max(WIDE, window(len(losses))), len(losses))
    return [mean(losses[at : at + wide]) for at in range(len(losses) - wide + 1)] if wide else []


def highest(signals: Signals) -> float:
    """The largest mean of five steps, in shares of the start."""
    return max(rolling(signals.points), default=math.nan) / start(signals)


def train_fall(signals: Signals) -> float:
    """How much of the training loss went away, whatever validation says."""
    return 1 - signals.last / max(mean([point.loss for point in signals.points[:3]]), TINY)


def numbness(signals: Signals) -> float:
    """The gradient norm of the second half in shares of the first three; 1 where norms are not known.

    A rate far too high throws a base to where nothing that is said depends on what is asked: the loss stays
    high, and hardly any gradient is left to bring it back.
    """
    norms = signals.norms
    first = median(norms[:3])
    return median(norms[len(norms) // 2 :]) / first if len(norms) > WIDE and first else 1.0


def lowest(signals: Signals) -> float:
    return min(rolling(signals.points), default=math.nan)


def late_fall(signals: Signals) -> float:
    """The share of the whole fall that came in the last quarter of the steps."""
    means = rolling(signals.points)
    whole = means[0] - means[-1] if means else 0.0
    return (means[3 * (len(means) - 1) // 4] - means[-1]) / whole if whole > 0 else 0.0


def apart(signals: Signals) -> float:
    """The last validation loss in shares of the training loss at the end."""
    return signals.checks[-1].loss / max(signals.last, TINY) if signals.checks else 0.0


def peak_place(signals: Signals) -> float | None:
    """Where the learning rate was highest, as a share of the steps; None where it is not known, or never rose."""
    rates = [(point.lr, point.step) for point in signals.points if point.lr is not None]
    planned = signals.planned or signals.steps
    if len(rates) < 3 or rates[0][0] == max(rates)[0]:
        return None
    top = max(rate for rate, _ in rates)
    return next(step for rate, step in rates if rate == top) / planned


def usual_rate(signals: Signals) -> float | None:
    """The learning rate that lftreg takes for a base of this size; None where that is not known."""
    size = signals.facts.get("base_parameters")
    return None if not size else next(rate for limit, rate in LEARNING_RATES if size <= limit)


def scale(signals: Signals) -> float | None:
    """What the update counts: alpha / rank."""
    rank, alpha = signals.settings.get("rank"), signals.settings.get("alpha")
    return alpha / rank if rank and alpha else None
