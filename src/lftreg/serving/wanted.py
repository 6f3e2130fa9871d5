"""What a request wants, read out of its fields: the same for every kind of request but for its prompt."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from lftreg.errors import LftregError
from lftreg.models.answers import prompt_rows
from lftreg.models.load import Loaded
from lftreg.models.tasks import SEQ2SEQ
from lftreg.plugins.types import Message
from lftreg.serving.bodies import Fields, checked_text
from lftreg.serving.errors import bad, refusal
from lftreg.serving.sampling import MOST_LOGPROBS, Sampling
from lftreg.serving.tickets import Asked
from lftreg.serving.voices import Voice

MOST_CHOICES = 16  # of one prompt
MOST_ANSWERS = 64  # of one request
MOST_STOPS = 16
WIDEST = 64  # characters of a token; texts come to 4 or 5 on the average
LONG = 1024  # tokens of an answer whose length nobody said, where there is room for them

FREE = (
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
)
# What clients send although it changes nothing; anything else in these is refused by name.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "top_k": (-1, 0),
    "min_p": (0,),
    "repetition_penalty": (1,),
}
SHARED = (
    "model", "n", "stream", "stream_options", "stop", "seed", "max_tokens", "temperature", "top_p", "logprobs",
    "ignore_eos",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """Prompts as token ids, `n` answers to each, and how they are to come."""

    voice: Voice
    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    n: int = 1
    stream: bool = False
    usage: bool = False  # whether a stream ends with the usage
    texts: tuple[str, ...] = ()  # the prompts of completions, as they were written

    def asked(self) -> list[Asked]:
        """What the engine is asked: choices differ by their places, which draw by a stream of their own."""
        return [
            Asked(self.voice, ids, replace(self.sampling, place=choice))
            for ids in self.prompts
            for choice in range(self.n)
        ]


def read_sampling(fields: Fields, *, max_tokens: int, temperature: float, logprobs: int | None) -> Sampling:
    """How to go on; without a seed one is drawn. Raises Refused."""
    seed = fields.count("seed", -(2**63), 2**63 - 1, None)
    return Sampling(
        max_tokens=max_tokens,
        temperature=fields.number("temperature", 0, 2, temperature),
        top_p=_share(fields),
        seed=secrets.randbits(48) if seed is None else seed,
        stop=_stops(fields),
        logprobs=logprobs,
        ignore_eos=fields.flag("ignore_eos"),
    )


def read_stream(fields: Fields) -> tuple[bool, bool]:
    """Whether to stream, and whether the stream ends with the usage."""
    stream = fields.flag("stream")
    options = fields.object("stream_options")
    options.known(["include_usage"], {"include_obfuscation": (False, True)})
    if "stream_options" in fields and not stream:
        raise bad("stream_options belong to a stream", "stream_options")
    return stream, options.flag("include_usage")


def read_choices(fields: Fields, prompts: int = 1) -> int:
    """How many answers to each prompt."""
    n = fields.count("n", 1, MOST_CHOICES, 1) or 1
    if n * prompts > MOST_ANSWERS:
        raise bad(f"{prompts} prompts with {n} answers each are too many: up to {MOST_ANSWERS} in all", "n")
    return n


def most_logprobs(fields: Fields, name: str) -> int | None:
    return fields.count(name, 0, MOST_LOGPROBS, None)


def check_size(characters: int, longest: int) -> None:
    """Refuse what can never fit before it costs anything: writing out and reading long texts takes its time."""
    if characters > longest * WIDEST:
        raise bad(
            f"{characters:,} characters do not fit the {longest} tokens that there are",
            code="context_length_exceeded",
        )


def chat_ids(loaded: Loaded, messages: list[Message]) -> tuple[int, ...]:
    """A conversation as the base reads it. Raises Refused where its template has no room for it."""
    try:
        (ids,) = prompt_rows(loaded, [messages])
        return tuple(ids)
    except LftregError as error:
        raise refusal(error, "messages") from error


def text_ids(loaded: Loaded, text: str) -> tuple[int, ...]:
    """A text as the base reads it, with the special tokens that its tokenizer puts around one."""
    return tuple(loaded.tokenizer(text)["input_ids"])


def room_for(loaded: Loaded, longest: int, prompts: tuple[tuple[int, ...], ...]) -> int:
    """Tokens of an answer whose length nobody said."""
    taken = 0 if loaded.task is SEQ2SEQ else max(map(len, prompts), default=0)
    return max(1, min(LONG, longest - taken))


def _share(fields: Fields) -> float:
    share = fields.number("top_p", 0, 1, 1.0)
    if share == 0:
        fields.fail("top_p", "more than 0")
    return share


def _stops(fields: Fields) -> tuple[str, ...]:
    value = fields.get("stop")
    stops = [value] if isinstance(value, str) else value if value is not None else []
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        fields.fail("stop", "a text or a list of texts")
    if len(stops) > MOST_STOPS or any(len(one) > 1000 for one in stops):
        fields.fail("stop", f"at most {MOST_STOPS} texts of at most 1,000 characters")
    return tuple(checked_text(one, "stop") for one in stops if one)
