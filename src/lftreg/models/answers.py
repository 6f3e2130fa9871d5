"""How a model in memory answers, by its task: with words, with the words that were hidden, or with a label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData, UsageError
from lftreg.models.load import Loaded
from lftreg.models.sources import pad_id_of, source_ids
from lftreg.models.tasks import CAUSAL, CLASSIFY, MASKED, SEQ2SEQ, Task
from lftreg.plugins.types import Message

if TYPE_CHECKING:
    import torch

BATCH = 16  # prompts that share a forward pass; answers do not depend on it
LIKELY = 5  # words that are told for a mask
MASKS = ("[MASK]", "<mask>")  # as people write it, whatever the tokenizer calls it

Conversation = Sequence[Message]
Said = Callable[[str], None]


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
class Generation:
    """One answer: the prompt, the text without special tokens, the number of tokens made.

    `scores` are the probabilities of a classifier's labels, or of the likeliest words for a mask.
    """

    prompt: str
    text: str
    tokens: int
    scores: Mapping[str, float] | None = None


def answer(
    model: Any,
    loaded: Loaded,
    conversations: Sequence[Conversation],
    decoding: Decoding,
    labels: Sequence[str] = (),
    on_text: Said | None = None,
) -> list[Generation]:
    """Answers to the last turn of each conversation, in their order.

    `labels` are a classifier's. `on_text` gets the words as they come, of one conversation.
    """
    if loaded.task is CLASSIFY:
        return _classified(model, loaded, conversations, labels)
    if loaded.task is MASKED:
        return _filled(model, loaded, conversations)
    return _WORDS[loaded.task](model, loaded, conversations, decoding, on_text)


def _causal(
    model: Any,
    loaded: Loaded,
    conversations: Sequence[Conversation],
    decoding: Decoding,
    on_text: Said | None,
) -> list[Generation]:
    chat = loaded.chat
    rows = [chat.prompt_ids(messages) for messages in conversations]
    made: list[list[int]] = []
    for batch, first in _batches(rows, decoding):
        ids, mask = _padded(batch, chat.pad_id, loaded.device, left=True)
        _check_room(loaded, ids.shape[1], decoding.max_tokens)
        streamer = None if on_text is None else _streamer(chat.tokenizer, on_text, skip_prompt=True)
        told = _generated(model, ids, mask, chat.pad_id, sorted(chat.stop_ids), decoding, first, streamer)
        made += [_until_stop(row, chat.stop_ids) for row in told[:, ids.shape[1] :].tolist()]
    return [
        Generation(messages[-1].content, chat.decode(ids), len(ids))
        for messages, ids in zip(conversations, made, strict=True)
    ]


def _seq2seq(
    model: Any,
    loaded: Loaded,
    conversations: Sequence[Conversation],
    decoding: Decoding,
    on_text: Said | None,
) -> list[Generation]:
    tokenizer, pad = loaded.tokenizer, pad_id_of(loaded.tokenizer)
    stop = frozenset([tokenizer.eos_token_id])
    rows = [source_ids(tokenizer, messages) for messages in conversations]
    made: list[list[int]] = []
    for batch, first in _batches(rows, decoding):
        ids, mask = _padded(batch, pad, loaded.device)
        streamer = None if on_text is None else _streamer(tokenizer, on_text, skip_prompt=False)
        told = _generated(model, ids, mask, pad, sorted(stop), decoding, first, streamer)
        made += [_until_stop(row, stop) for row in told[:, 1:].tolist()]  # the first token begins a decoder
    return [
        Generation(messages[-1].content, tokenizer.decode(ids, skip_special_tokens=True).strip(), len(ids))
        for messages, ids in zip(conversations, made, strict=True)
    ]


_WORDS: Mapping[Task, Callable[..., list[Generation]]] = {CAUSAL: _causal, SEQ2SEQ: _seq2seq}


def _filled(model: Any, loaded: Loaded, conversations: Sequence[Conversation]) -> list[Generation]:
    """The text of each prompt with its masks filled in, likeliest first."""
    import torch

    tokenizer, made = loaded.tokenizer, []
    for messages in conversations:
        prompt = messages[-1].content
        text = prompt
        for mask in MASKS:
            text = text.replace(mask, tokenizer.mask_token)
        ids = torch.tensor([tokenizer(text)["input_ids"]], device=loaded.device)
        _check_room(loaded, ids.shape[1], 0)
        hidden = (ids[0] == tokenizer.mask_token_id).nonzero().flatten()
        if not len(hidden):
            raise InvalidData(
                f"{prompt[:60]!r} hides no word",
                "a masked language model fills in [MASK]: 'Returns take [MASK] days.'",
                code="no-mask",
            )
        with torch.inference_mode():
            chances = model(input_ids=ids).logits[0, hidden].float().softmax(-1)
        likely = chances[0].topk(LIKELY)
        scores = {
            tokenizer.decode([id_]).strip(): chance
            for chance, id_ in zip(likely.values.tolist(), likely.indices.tolist(), strict=True)
        }
        ids[0, hidden] = chances.argmax(-1)
        words = tokenizer.decode(ids[0], skip_special_tokens=True).strip()
        made.append(Generation(prompt, words, len(hidden), scores))
    return made


def _classified(
    model: Any, loaded: Loaded, conversations: Sequence[Conversation], labels: Sequence[str]
) -> list[Generation]:
    """The likeliest label of each prompt."""
    import torch

    prompts = [messages[-1].content for messages in conversations]
    rows = [list(loaded.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    made = []
    for start in range(0, len(rows), BATCH):
        ids, mask = _padded(rows[start : start + BATCH], pad_id_of(loaded.tokenizer), loaded.device)
        _check_room(loaded, ids.shape[1], 0)
        with torch.inference_mode():
            chances = model(input_ids=ids, attention_mask=mask).logits.float().softmax(-1).tolist()
        for prompt, row in zip(prompts[start : start + BATCH], chances, strict=True):
            scores = dict(zip(labels, row, strict=True))
            made.append(Generation(prompt, max(scores, key=lambda label: scores[label]), 0, scores))
    return made


def _generated(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    pad: int,
    stop: list[int],
    decoding: Decoding,
    first: int,
    streamer: Any,
) -> torch.Tensor:
    """Rows of ids as transformers continues them; `first` is the index of the first row, which seeds it."""
    import torch

    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if decoding.temperature > 0:
        torch.manual_seed(decoding.seed + first)
        sampling = {
            "do_sample": True,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": 0,
        }
    with torch.inference_mode():
        made: torch.Tensor = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=decoding.max_tokens,
            pad_token_id=pad,
            eos_token_id=stop,
            streamer=streamer,
            num_beams=1,
            **sampling,
        )
    return made


def _check_room(loaded: Loaded, prompt: int, more: int) -> None:
    limit = getattr(loaded.model.config, "max_position_embeddings", None)
    if limit is not None and prompt + more > limit:
        raise InvalidData(
            f"{prompt} tokens of prompt and {more} of answer do not fit the base's {limit}",
            f"shorten the prompt, or --max-tokens {max(1, limit - prompt)}",
            code="too-long",
        )


def _batches(rows: list[list[int]], decoding: Decoding) -> Iterator[tuple[list[list[int]], int]]:
    """Rows that go together. Sampled ones go alone, so that a seed says the same in any company."""
    size = 1 if decoding.temperature > 0 else BATCH
    for first in range(0, len(rows), size):
        yield rows[first : first + size], first


def _padded(
    rows: list[list[int]], pad: int, device: torch.device, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (rows, longest); filled up on the left, answers start at one column."""
    import torch

    longest = max(len(row) for row in rows)
    fill = [longest - len(row) for row in rows]
    ids = [[pad] * n + row if left else row + [pad] * n for n, row in zip(fill, rows, strict=True)]
    mask = [
        [0] * n + [1] * len(row) if left else [1] * len(row) + [0] * n
        for n, row in zip(fill, rows, strict=True)
    ]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _until_stop(ids: list[int], stop: frozenset[int]) -> list[int]:
    end = next((at for at, id_ in enumerate(ids) if id_ in stop), len(ids))
    return ids[:end]


def _streamer(tokenizer: Any, on_text: Said, skip_prompt: bool) -> Any:
    from transformers import TextStreamer

    class Streamer(TextStreamer):  # type: ignore[misc]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            on_text(text)

    return Streamer(tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
