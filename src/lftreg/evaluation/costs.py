"""What a query takes and costs, and when training has paid for itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from lftreg.budget.devices import find
from lftreg.errors import NotFound
from lftreg.evaluation.arms import ArmName, Material, ask
from lftreg.evaluation.suite import Item
from lftreg.models.answers import Decoding, answer
from lftreg.models.generate import Speaker
from lftreg.registry import Version

TIMED = 8  # items that are asked one at a time, by every arm in turn


@dataclass(frozen=True, slots=True)
class Timing:
    """One query at a time, from the question as it is typed: search and prompt included.

    `first_token` is the median in seconds, `seconds` the mean of a whole query; `n` items were timed.
    """

    first_token: float
    seconds: float
    n: int


def take_times(
    arms: Sequence[ArmName],
    refs: Mapping[ArmName, str],
    items: Sequence[Item],
    material: Material,
    speaker: Speaker,
    max_tokens: int,
    told: Callable[[str, int, int], None],
) -> dict[ArmName, Timing]:
    """Time every arm on the first TIMED items, after one that warms up.

    The arms take turns on each item, so that a machine that is busier for a while slows all of them alike.
    """
    sample = items[:TIMED]
    first: dict[ArmName, list[float]] = {arm: [] for arm in arms}
    whole: dict[ArmName, list[float]] = {arm: [] for arm in arms}

    def seconds(arm: ArmName, item: Item, tokens: int) -> float:
        # Who serves one arm never switches: PEFT takes longer to turn adapters off than a token takes on a GPU.
        with speaker.using(refs[arm]) as model:
            started = time.perf_counter()
            turns = ask(arm, item, material).turns
            answer(model, speaker.loaded, [turns], Decoding(tokens))
            return time.perf_counter() - started

    on_gpu = speaker.loaded.device.type == "cuda"
    for arm in arms:
        seconds(arm, sample[0], 2)
    for done, item in enumerate(sample):
        told("timing", done, len(sample))
        for arm in arms if on_gpu else ():
            seconds(arm, item, max_tokens)  # a GPU takes several tokens' time over a length that is new to it
        for arm in arms:
            first[arm].append(seconds(arm, item, 1))
            whole[arm].append(seconds(arm, item, max_tokens))
    return {arm: Timing(median(first[arm]), mean(whole[arm]), len(sample)) for arm in arms}


def price_of(price_per_hour: float | None) -> float | None:
    """US dollars an hour: what is given, or what this machine's GPU costs; None for a CPU or an unknown GPU."""
    import torch

    if price_per_hour is not None or not torch.cuda.is_available():
        return price_per_hour
    try:
        return find(None).price
    except NotFound:
        return None


def training_cost(version: Version, price_per_hour: float | None) -> float | None:
    """What a version's training cost: in US dollars, or in seconds where no price is known.

    A run that knew its own price is taken at that. None for a version that was not trained here.
    """
    run = version.run
    if run is None:
        return None
    if price_per_hour is None:
        return run.seconds
    paid = run.settings.get("cost")
    return float(paid["usd"]) if paid else run.seconds * price_per_hour / 3600
