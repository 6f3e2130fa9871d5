"""Rules on settings, rows and the course of the losses. Thresholds are in `symptoms`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from lftreg.advice import symptoms
from lftreg.advice.ends import look_at_rows
from lftreg.advice.signals import Signals, median

# setting -> the most that helps anybody, and the words for it
MOST: Mapping[str, tuple[float, str]] = {
    "dropout": (0.5, "of the adapter's inputs are left out in every step"),
    "neftune": (50.0, "is the noise on the embeddings"),
}
SCALES = (1 / 64, 64.0)  # alpha / rank; 1 to 4 are usual, rank-stabilised ones reach 16
LEFT_OUT = 0.05  # of the train rows
PARTIAL = 0.25  # of the names of linear layers: the classic choice of two out of seven is above it
REPEATED, CONTRADICTED = 0.5, 0.3  # shares of the train rows
FORGOTTEN = 1.2  # old data's loss after over before
FEW_ROWS = 30
Change = Callable[[Signals], Mapping[str, Any] | str]


def too_much(name: str) -> Callable[[Signals], str | None]:
    most, words = MOST[name]

    def look(signals: Signals) -> str | None:
        value = signals.settings.get(name) or 0.0
        shown = f"{value:.0%}" if most < 1 else f"{value:g}"
        usual = f"{most:.0%}" if most < 1 else f"{most:g}"
        return f"{shown} {words}; over {usual} it keeps an adapter from learning" if value >= most else None

    return look


def reset(name: str) -> Change:
    """Back to the default."""
    return lambda signals: {name: None}


def left_out(signals: Signals) -> str | None:
    gone = (signals.facts.get("left_out") or {}).get("train", 0)
    kept = (signals.facts.get("rows") or {}).get("train", 0)
    if not gone or gone / (gone + kept) < LEFT_OUT:
        return None
    limit, longest = signals.facts.get("limit"), signals.facts.get("longest")
    return (
        f"{gone} of {gone + kept} train rows ({gone / (gone + kept):.0%}) are longer than {limit} tokens and were "
        f"left out; the longest has {longest}"
    )


def keep_rows(signals: Signals) -> Mapping[str, Any]:
    return {"max_length": signals.facts.get("longest")}


def scale_out_of_range(signals: Signals) -> str | None:
    scale = symptoms.scale(signals)
    if scale is None or SCALES[0] <= scale <= SCALES[1] or signals.drop > symptoms.RECOVERED:
        return None
    rank, alpha = signals.settings["rank"], signals.settings["alpha"]
    return (
        f"alpha {alpha:g} at rank {rank} counts the update {scale:.3g} times, and 2 is usual; "
        f"the loss went from {symptoms.start(signals):.3f} to {signals.last:.3f}"
    )


def rate_too_high(signals: Signals) -> str | None:
    """The loss leaves its start upwards, and does not come back to half of it."""
    if len(signals.points) < 3 or signals.drop > symptoms.RECOVERED:
        return None
    start, rate = symptoms.start(signals), signals.peak_rate
    top, end, left = symptoms.highest(signals), signals.last / start, symptoms.numbness(signals)
    shown = "" if rate is None else f" at a learning rate of {rate:g}"
    if left < symptoms.NUMB and end > 1 - symptoms.RECOVERED:
        return (
            f"{left:.1%} of the gradient is left{shown} while the loss is still {signals.last:.3f}, from "
            f"{start:.3f}: the base was thrown out of what it knew{_entropy(signals)}"
        )
    if top < symptoms.UP and end < (symptoms.ASTRAY if signals.before else symptoms.ASTRAY_BY_STEPS):
        return None
    if symptoms.lowest(signals) < start * symptoms.LEARNED:
        return None  # it had learned first: it diverged
    return (
        f"the loss rose to {top:.1f} times its start{shown} and ended at {signals.last:.3f}, "
        f"from {start:.3f}{_entropy(signals)}"
    )


def diverged(signals: Signals) -> str | None:
    low = symptoms.lowest(signals)
    far = symptoms.FAR_BACK if signals.drop > symptoms.RECOVERED else symptoms.BACK
    if len(signals.points) < 2 * symptoms.WIDE or signals.last < far * low:
        return None
    if low > symptoms.start(signals) * symptoms.LEARNED or signals.last < symptoms.MEMORISED:
        return None
    return f"the training loss had fallen to {low:.3f} and rose again to {signals.last:.3f}: it came apart midway"


def lower_rate(signals: Signals) -> Mapping[str, Any]:
    """What lftreg takes for a base of this size, or a tenth of what was tried, whichever is less."""
    tried = signals.settings.get("lr") or signals.peak_rate
    if not tried:
        return {}
    return {"lr": min(symptoms.usual_rate(signals) or math.inf, tried / 10)}


def warm_up_too_long(signals: Signals) -> str | None:
    place = symptoms.peak_place(signals)
    if place is None or not signals.over or place < symptoms.RISING or len(signals.points) < 5:
        return None
    return f"the learning rate rose until {place:.0%} of the run: it was at its peak when there was hardly a step left"


def shorter_warm_up(signals: Signals) -> Mapping[str, Any]:
    return {"warmup": 0.06}


def too_few_steps(signals: Signals) -> str | None:
    if signals.planned is None or signals.planned >= symptoms.FEW_STEPS or signals.steps > symptoms.FEW_STEPS:
        return None
    if signals.drop > symptoms.RECOVERED:
        return None
    fell = max(0.0, signals.drop)
    return f"{signals.planned} optimizer steps are too few to learn anything: the loss fell by {fell:.1%}"


def more_steps(signals: Signals) -> Mapping[str, Any]:
    """As many as three passes take, and at least three times as many as there were."""
    a_pass = signals.facts.get("steps_a_pass") or 0
    return {"max_steps": max(60, 3 * a_pass, 3 * (signals.planned or signals.steps))}


def rate_too_low(signals: Signals) -> str | None:
    usual, rate = symptoms.usual_rate(signals), signals.peak_rate
    far = bool(usual and rate and rate < usual / symptoms.FAR)
    if not signals.over or not signals.points or signals.drop >= (symptoms.SLOW if far else symptoms.STILL):
        return None
    if symptoms.train_fall(signals) >= symptoms.SLOW:
        return None
    if signals.norms and median(signals.norms) < symptoms.ALIVE:
        return None
    norm = f", with a healthy gradient (norm {median(signals.norms):.2g})" if signals.norms else ""
    at = "" if rate is None else f" at a learning rate of {rate:g}"
    return f"the loss fell by {max(0.0, signals.drop):.2%} in {signals.steps} steps{at}{norm}"


def higher_rate(signals: Signals) -> Mapping[str, Any]:
    tried = signals.settings.get("lr") or signals.peak_rate or 0.0
    usual = symptoms.usual_rate(signals)
    return {"lr": usual if usual and usual > tried else max(10 * tried, 1e-4)}


def same_rows(signals: Signals) -> str | None:
    share = signals.facts.get("repeated") or 0.0
    if share < REPEATED:
        return None
    return f"{share:.0%} of the train rows equal an earlier one, word for word"


def contradictions(signals: Signals) -> str | None:
    share = signals.facts.get("contradicted") or 0.0
    if share < CONTRADICTED:
        return None
    return f"{share:.0%} of the train rows have a prompt that is answered otherwise elsewhere: no answer can be learned"


def see_data(signals: Signals) -> str:
    return look_at_rows(signals)


def overfit(signals: Signals) -> str | None:
    ratio, end = symptoms.apart(signals), signals.last
    known = next((point.right for point in reversed(signals.points) if point.right is not None), None)
    by_heart = end < symptoms.MEMORISED if known is None else known > symptoms.SURE
    if not signals.checks or ratio < symptoms.APART or not by_heart:
        return None
    if signals.checks[-1].loss - end < symptoms.GAP:
        return None
    best = signals.best
    assert best is not None
    passes = "" if signals.passes is None else f" after {signals.passes:.0f} passes"
    return (
        f"validation loss {signals.checks[-1].loss:.3f} is {ratio:.1f} times the training loss {end:.3f}{passes}: "
        f"the rows are known by heart (best was {best.loss:.3f} at step {best.step})"
    )


def fewer_passes(signals: Signals) -> Mapping[str, Any]:
    best = signals.best
    return {"epochs": None, "max_steps": max(1, best.step if best else signals.steps // 3)}


def partial_targets(signals: Signals) -> str | None:
    """Few kinds of layers have an adapter, or not all layers of a kind."""
    adapted: Mapping[str, tuple[int, int]] = signals.facts.get("adapted") or {}
    used = {name: (hit, of) for name, (hit, of) in adapted.items() if hit}
    if not used:
        return None
    gaps = [f"{name} in {hit} of {of} layers" for name, (hit, of) in used.items() if hit < of]
    if gaps:
        return f"the adapter is only in a part of the base: {', '.join(gaps)}"
    if len(used) / len(adapted) >= PARTIAL:
        return None
    return (
        f"only {', '.join(used)} is adapted, {len(used)} of {len(adapted)} kinds of linear layers; "
        "all of them learn more at the same rank"
    )


def forgetting(signals: Signals) -> str | None:
    before, after = signals.losses.get("old_before"), signals.losses.get("old_after")
    if not before or not after or after / before < FORGOTTEN:
        return None
    more = after / before - 1
    return (
        f"the loss on the data of the version it went on from rose by {more:.0%}, {before:.3f} to {after:.3f}"
    )


def replay(signals: Signals) -> Mapping[str, Any]:
    return {"replay": 0.2}


def no_improvement(signals: Signals) -> str | None:
    if not signals.over or signals.before is None or len(signals.checks) < 2:
        return None
    best = signals.best
    assert best is not None
    if best.step:
        return None
    return f"validation loss never fell below the {signals.before:.3f} that it had before step 1"


def cut_short(signals: Signals) -> str | None:
    if not signals.over or signals.steps < (signals.planned or 0) or len(signals.points) < 3 * symptoms.WIDE:
        return None
    late, passes = symptoms.late_fall(signals), signals.passes
    best = signals.best
    if (
        late < symptoms.STEEP
        or signals.drop < symptoms.SLOW
        or (best is not None and best.step < signals.steps)
    ):
        return None
    shown = "" if passes is None else f" ({passes:.1f} passes)"
    where = f"the last quarter of the {signals.steps} steps{shown}"
    return f"{late:.0%} of the fall came in {where}: it was not done learning"


def few_rows(signals: Signals) -> str | None:
    rows = (signals.facts.get("rows") or {}).get("train")
    return (
        f"{rows} train rows are few: fifty to a few hundred teach a manner of answering"
        if rows and rows < FEW_ROWS
        else None
    )


def _entropy(signals: Signals) -> str:
    """Whether the model became less sure, where that was measured."""
    known = [check.entropy for check in signals.checks if check.entropy is not None]
    return f"; its entropy went from {known[0]:.2f} to {known[-1]:.2f} nats" if len(known) > 1 else ""
