"""Prompts that are continued together, each as it would be alone.

Rows of like length share a batch, so that little is padding; rows that have ended leave it, so that nobody waits for
the longest answer. What is left of a batch goes on from its own key-value cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import UsageError

if TYPE_CHECKING:
    import torch

ROWS = 64  # of a batch at most
TOKENS = 16_384  # of a batch at most, prompts and answers: what a key-value cache has to hold
STAY = 0.75  # a batch is made anew once fewer than this share of its rows go on
FEW = 4  # rows that stay together to their end: there is little to save
# Settings of a base that count from where generation begins: a batch that is made anew would count again.
COUNT_FROM_PROMPT = ("min_new_tokens", "begin_suppress_tokens", "exponential_decay_length_penalty")

Done = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the next token is chosen. A temperature of 0 takes the likeliest one."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"--max-tokens {self.max_tokens} leaves nothing to say", "give 1 or more")
        if not 0.0 <= self.temperature <= 100.0:
            raise UsageError(f"--temperature {self.temperature} makes no sense", "0 (greedy) to about 1.5")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"--top-p {self.top_p} makes no sense", "more than 0, at most 1")


@dataclass(frozen=True, slots=True)
class Continuing:
    """A model that answers, and what ends and fills its rows.

    `encoder` says that rows are read by an encoder first: they are then filled up on their right, and answers
    begin anew. `streamer` is transformers', for a single row.
    """

    model: Any
    decoding: Decoding
    pad: int
    stops: frozenset[int]
    encoder: bool = False
    streamer: Any = None

    def answers(self, rows: Sequence[Sequence[int]], on_done: Done | None = None) -> list[list[int]]:
        """The ids of each row's answer without its stop token, in the order of the rows.

        `on_done` is told how many answers there are, and how many are wanted. Row n is sampled with the seed
        of the decoding plus n, whatever rows it shares a batch with.
        """
        made: dict[int, list[int]] = {}
        together = self._whole if self.encoder else self._leaving
        for places in batches([len(row) for row in rows], self.decoding.max_tokens):
            for place, ids in together([rows[place] for place in places], places):
                made[place] = ids
                if on_done is not None:
                    on_done(len(made), len(rows))
        return [made[place] for place in range(len(rows))]

    def _whole(self, rows: Sequence[Sequence[int]], places: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """A batch to its end."""
        ids, mask = padded(rows, self.pad, self.model.device)
        told = self._generated(ids, mask, self.decoding.max_tokens, self._dice(places)).sequences
        for place, row in zip(places, told[:, 1:].tolist(), strict=True):  # the first token begins a decoder
            yield place, until_stop(row, self.stops)

    def _leaving(
        self, rows: Sequence[Sequence[int]], places: Sequence[int]
    ) -> Iterator[tuple[int, list[int]]]:
        """A batch from which rows go as they end."""
        import torch

        ids, mask = padded(rows, self.pad, self.model.device, left=True)
        start, going, dice, cache = ids.shape[1], list(places), self._dice(places), None
        while going:
            left = start + self.decoding.max_tokens - ids.shape[1]
            told = self._generated(ids, mask, left, dice, cache, self._until_few(start, len(going)))
            answers = told.sequences[:, start:].tolist()
            full = len(answers[0]) >= self.decoding.max_tokens
            ended = [full or not self.stops.isdisjoint(answer) for answer in answers]
            for place, answer, over in zip(going, answers, ended, strict=True):
                if over:
                    yield place, until_stop(answer, self.stops)
            kept = [at for at, over in enumerate(ended) if not over]
            going = [going[at] for at in kept]
            dice = [dice[at] for at in kept] if dice else []
            if going:
                chosen = torch.tensor(kept, device=ids.device)
                ids = told.sequences[chosen]
                mask = torch.nn.functional.pad(mask[chosen], (0, ids.shape[1] - mask.shape[1]), value=1)
                cache = _kept(told.past_key_values, chosen)

    def _generated(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        more: int,
        dice: Sequence[torch.Generator],
        cache: Any = None,
        until: Sequence[Any] = (),
    ) -> Any:
        """What transformers makes of rows: up to `more` tokens, going on from a cache where there is one."""
        import torch

        given = {} if cache is None else {"past_key_values": cache}
        with torch.inference_mode():
            return self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=more,
                pad_token_id=self.pad,
                eos_token_id=sorted(self.stops),
                logits_processor=[_drawing(self.decoding, dice)] if dice else [],
                stopping_criteria=list(until),
                streamer=self.streamer,
                num_beams=1,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                return_dict_in_generate=True,
                **given,
            )

    def _until_few(self, start: int, rows: int) -> list[Any]:
        """What stops a batch once few of its rows go on; nothing where it goes to its end."""
        counting = any(getattr(self.model.generation_config, name, None) for name in COUNT_FROM_PROMPT)
        return [] if rows <= FEW or counting else [_few_left(start, self.stops, int(STAY * rows))]

    def _dice(self, places: Sequence[int]) -> list[torch.Generator]:
        """A generator for each row that is sampled."""
        import torch

        if not self.decoding.temperature:
            return []
        device = self.model.device
        return [torch.Generator(device).manual_seed(seed_of(self.decoding.seed, place)) for place in places]


def seed_of(seed: int, place: int) -> int:
    """The seed of what is drawn at a place, 0 to 2**64 - 1: each pair has a stream of its own.

    Were they added, the second row of one seed would draw what the first row of the next one does.
    """
    import numpy as np

    return int(np.random.SeedSequence([seed % 2**64, place]).generate_state(1, np.uint64)[0])


def batches(lengths: Sequence[int], more: int) -> Iterator[list[int]]:
    """Places of rows that go together, the longest first; each of them is to grow by `more` tokens."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    while order:
        size = max(1, min(ROWS, TOKENS // (lengths[order[0]] + more)))
        yield order[:size]
        order = order[size:]


def padded(
    rows: Sequence[Sequence[int]], pad: int, device: torch.device, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (rows, longest); filled up on the left, answers start at one column."""
    import torch

    longest = max(len(row) for row in rows)
    fill = [longest - len(row) for row in rows]
    ids = [[pad] * n + [*row] if left else [*row] + [pad] * n for n, row in zip(fill, rows, strict=True)]
    mask = [
        [0] * n + [1] * len(row) if left else [1] * len(row) + [0] * n
        for n, row in zip(fill, rows, strict=True)
    ]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def until_stop(ids: Sequence[int], stops: Iterable[int]) -> list[int]:
    """The ids before the first stop token."""
    known = frozenset(stops)
    end = next((at for at, id_ in enumerate(ids) if id_ in known), len(ids))
    return list(ids[:end])


def _few_left(start: int, stops: frozenset[int], few: int) -> Any:
    """A stopping criterion of transformers: at most `few` rows have no stop token since column `start`."""
    import torch

    def enough(ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        known = torch.tensor(sorted(stops), device=ids.device)
        going = (~torch.isin(ids[:, start:], known).any(-1)).sum()
        return (going <= few).expand(len(ids))

    return enough


def _drawing(decoding: Decoding, dice: Sequence[torch.Generator]) -> Any:
    """A logits processor of transformers after which the likeliest token is one that was drawn, row by row."""

    def draw(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return drawing(scores, float(decoding.temperature), decoding.top_p, dice)

    return draw


def drawing(
    scores: torch.Tensor, temperature: float, top_p: float, dice: Sequence[torch.Generator]
) -> torch.Tensor:
    """Scores, (rows, words), whose largest is a token that was drawn from these logits, each row with its dice.

    The largest of chance / e, with e exponential noise, falls on a token as often as it is likely: so
    `torch.multinomial` draws a single sample, and with one generator a row the draws are the same to the bit.
    """
    import torch
    from transformers.generation.logits_process import TopPLogitsWarper

    scores = scores / temperature
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    chances = scores.softmax(-1)
    noise = [torch.empty_like(chances[0]).exponential_(1, generator=one) for one in dice]
    return chances / torch.stack(noise)


def _kept(cache: Any, rows: torch.Tensor) -> Any:
    """A cache without the rows that ended; None where it is of a kind that cannot be trusted to forget them.

    A batch goes on without one too: all that was said is then read again.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    known = (DynamicLayer, DynamicSlidingWindowLayer)
    if type(cache) is not DynamicCache or any(type(layer) not in known for layer in cache.layers):
        return None
    cache.batch_select_indices(rows)
    return cache
