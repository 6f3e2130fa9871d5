"""The next token of each row, each by its own settings and its own dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lftreg.errors import UsageError
from lftreg.models.batching import drawing, seed_of

if TYPE_CHECKING:
    import torch

MOST_LOGPROBS = 20
COLDEST = 1e-5  # a temperature below is as good as 0, and to divide by it may leave the range of numbers


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a row goes on and when it ends.

    A temperature of 0 takes the likeliest token. `seed`, and `place` among several answers to one request, decide every
    draw of the row, whatever rows it shares a pass with, as they do in `lftreg generate`. `stop` are texts that end
    the answer and do not belong to it;
    `logprobs` is how many likely tokens are told beside the one that was taken, None for no logprobs at all.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    place: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens {self.max_tokens} leaves nothing to say", "give 1 or more")
        if not 0.0 <= self.temperature <= 100.0:
            raise UsageError(f"temperature {self.temperature} makes no sense", "0 (greedy) to about 1.5")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"top_p {self.top_p} makes no sense", "more than 0, at most 1")
        if not -(2**63) <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed} is too large", "a 64-bit number")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise UsageError(f"logprobs {self.logprobs} is out of range", f"0 to {MOST_LOGPROBS}")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token, and what was asked for about it: its logprob in nats, and the likeliest tokens with theirs."""

    id: int
    logprob: float | None = None
    likely: tuple[tuple[int, float], ...] = ()


def dice_of(sampling: Sampling, device: torch.device) -> torch.Generator | None:
    """What a row draws with; None where nothing is drawn."""
    import torch

    if not sampling.temperature:
        return None
    return torch.Generator(device).manual_seed(seed_of(sampling.seed, sampling.place))


def choose(
    logits: torch.Tensor, samplings: Sequence[Sampling], dice: Sequence[torch.Generator | None]
) -> list[Chosen]:
    """One token for each row of `logits`, (rows, words); id -1 where they are no numbers."""
    best = logits.max(-1)  # a NaN among them is the largest
    greedy = best.indices.masked_fill(~best.values.isfinite(), -1).tolist()
    chosen = []
    for row, (sampling, die, likeliest) in enumerate(zip(samplings, dice, greedy, strict=True)):
        if likeliest < 0:
            chosen.append(Chosen(-1))
            continue
        id_ = likeliest
        if die is not None:
            temperature = max(sampling.temperature, COLDEST)
            id_ = int(drawing(logits[row][None], temperature, sampling.top_p, [die]).argmax())
        chosen.append(
            Chosen(id_) if sampling.logprobs is None else _told(logits[row], id_, sampling.logprobs)
        )
    return chosen


def _told(logits: torch.Tensor, id_: int, likely: int) -> Chosen:
    """Logprobs are of the model itself, before temperature and top_p."""
    told = logits.log_softmax(-1)
    best = told.topk(likely) if likely else None
    pairs = () if best is None else tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Chosen(id_, float(told[id_]), pairs)
