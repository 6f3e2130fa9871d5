"""What every speaker answers to a suite, and what the reference answers cost it, over one loaded base.

What decodes is given questions, and a question has no reference. An item whose prompt and `max_tokens` do not fit
the base is left unanswered, for every speaker alike: an answer that the base cut short would be scored as if its
speaker had ended it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData, UsageError
from lftreg.evaluation.suite import Item, Suite
from lftreg.models.tasks import DEFAULT_LENGTH, MASKED, length_limit
from lftreg.plugins.types import Example, Message

if TYPE_CHECKING:
    from lftreg.models.generate import Decoding, Speaker
    from lftreg.objectives import Objective
    from lftreg.objectives.rows import Row

LOSS_TOKENS = 2048  # of a forward pass: the logits of a large vocabulary are the widest tensor there is
LOSS_ROWS = 64
WITHOUT_LIMIT = 10**9

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked beside one answer to each item.

    `samples` answers are drawn of each prompt at `temperature`; with `paraphrases` its other wordings are
    asked too; with `losses` the references are weighed.
    """

    samples: int = 0
    temperature: float = 0.7
    paraphrases: bool = False
    losses: bool = True

    def __post_init__(self) -> None:
        if self.samples < 0 or (self.samples and not self.temperature > 0):
            raise UsageError(
                f"{self.samples} samples at a temperature of {self.temperature} make no sense",
                "draw 1 or more, at more than 0",
            )


@dataclass(frozen=True, slots=True)
class Question:
    """All that a decoder is shown: the turns before an answer, and the functions that it may call."""

    turns: tuple[Message, ...]
    tools: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one speaker made of a suite of n items, in their order; what was not asked for is empty.

    `answers` holds n texts: "" for the places in `unanswered`, whose prompts leave the base no room to answer,
    and for bare texts, which ask nothing. Of paraphrases and samples those without room are missing. `nats`
    is the loss of each reference summed over its tokens, its stop token included, `tokens` their number (1 for
    a label), `bytes` the reference's size in UTF-8. The loss is None for the places in `unweighed`: what is
    longer than the base can read, or teaches nothing.
    """

    answers: tuple[str, ...]
    paraphrased: tuple[tuple[str, ...], ...] = ()
    samples: tuple[tuple[str, ...], ...] = ()
    nats: tuple[float | None, ...] = ()
    tokens: tuple[int, ...] = ()
    bytes: tuple[int, ...] = ()
    unanswered: tuple[int, ...] = ()

    def at(self, places: Sequence[int]) -> Answers:
        """The same of some items only."""

        def some(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[place] for place in places) if column else ()

        columns = ("answers", "paraphrased", "samples", "nats", "tokens", "bytes")
        return Answers(**{name: some(getattr(self, name)) for name in columns})

    @property
    def unweighed(self) -> tuple[int, ...]:
        return tuple(place for place, nats in enumerate(self.nats) if nats is None)


def ask(
    speaker: Speaker,
    suite: Suite,
    decoding: Decoding,
    wanted: Wanted | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Answers]:
    """The answers of everyone who speaks through one base, by REF. Equal content is asked once, whatever its names.

    `on_progress(who, done, total)` counts the answers of one speaker under its REF, and then, from 0 again, what is
    called "REF, samples" and "REF, losses". Raises UsageError for a masked language model, which answers no questions.
    A classifier answers with its label.
    """
    wanted = wanted or Wanted()
    if speaker.loaded.task is MASKED:
        raise UsageError(
            f"{speaker.refs[0]} is a {MASKED.words}, which answers no questions",
            "evaluate adapters of causal, sequence-to-sequence or label models",
            code="no-answers",
        )
    questions = tuple(_question(item) for item in suite.items)
    wordings = tuple(_wordings(item) if wanted.paraphrases else () for item in suite.items)
    weighed = _encoded(speaker, suite.items) if wanted.losses else ()
    made: dict[str, Answers] = {}
    for ref in speaker.refs:
        digest = speaker.digest(ref)
        if digest not in made:
            tell = _Teller(ref, on_progress)
            spoken = _spoken(speaker, ref, questions, wordings, decoding, wanted, tell)
            made[digest] = (
                _weighed(spoken, speaker, ref, suite.items, weighed, tell) if wanted.losses else spoken
            )
    return {ref: made[speaker.digest(ref)] for ref in speaker.refs}


@dataclass(frozen=True, slots=True)
class _Teller:
    """Progress of one speaker, in parts that each count from 0 and are called by what is made."""

    ref: str
    on_progress: Progress | None

    def part(self, name: str = "") -> Callable[[int, int], None]:
        who = f"{self.ref}, {name}" if name else self.ref

        def tell(done: int, of: int) -> None:
            if self.on_progress is not None:
                self.on_progress(who, done, of)

        return tell


# Questions


def _question(item: Item) -> Question | None:
    """An item without its reference; None for a bare text."""
    return Question(item.asked, item.example.tools) if item.asked else None


def _wordings(item: Item) -> tuple[Question, ...]:
    """The question of an item, once for each other wording of its last user turn."""
    last = max((n for n, turn in enumerate(item.asked) if turn.role == "user"), default=None)
    if last is None:
        return ()
    before, turn, after = item.asked[:last], item.asked[last], item.asked[last + 1 :]
    return tuple(
        Question((*before, replace(turn, content=wording), *after), item.example.tools)
        for wording in item.paraphrases
    )


def _spoken(
    speaker: Speaker,
    ref: str,
    questions: Sequence[Question | None],
    wordings: Sequence[Sequence[Question]],
    decoding: Decoding,
    wanted: Wanted,
    tell: _Teller,
) -> Answers:
    """One speaker's answers. Equal questions are asked once."""
    everything = [one for one in (*questions, *(word for words in wordings for word in words)) if one]
    said = {
        question: texts[0] if texts else None
        for question, texts in _asked_once(speaker, ref, everything, decoding, 1, tell.part()).items()
    }
    drawn: Mapping[Question, tuple[str, ...]] = {}
    if wanted.samples:
        sampling = replace(decoding, temperature=wanted.temperature)
        asked = [one for one in questions if one]
        drawn = _asked_once(speaker, ref, asked, sampling, wanted.samples, tell.part("samples"))
    return Answers(
        answers=tuple((said[one] or "") if one else "" for one in questions),
        paraphrased=tuple(_known(said[word] for word in words) for words in wordings)
        if wanted.paraphrases
        else (),
        samples=tuple(drawn[one] if one else () for one in questions) if wanted.samples else (),
        unanswered=tuple(place for place, one in enumerate(questions) if one and said[one] is None),
    )


def _known(texts: Iterator[str | None]) -> tuple[str, ...]:
    return tuple(text for text in texts if text is not None)


def _asked_once(
    speaker: Speaker,
    ref: str,
    questions: Sequence[Question],
    decoding: Decoding,
    times: int,
    tell: Callable[[int, int], None],
) -> dict[Question, tuple[str, ...]]:
    """The answers to each of some questions, asked `times` times; none to one that leaves no room for them."""
    unique = list(dict.fromkeys(questions))
    repeated = [question for question in unique for _ in range(times)]
    made = speaker.answer_turns(
        ref,
        [question.turns for question in repeated],
        decoding,
        tools=[question.tools for question in repeated],
        on_done=tell,
    )
    return {
        question: tuple(one.text for one in made[at * times : (at + 1) * times] if one is not None)
        for at, question in enumerate(unique)
    }


# Losses


def _objective(speaker: Speaker) -> Objective:
    from lftreg.models.load import stop_ids
    from lftreg.objectives import make_objective

    loaded = speaker.loaded
    return make_objective(loaded.task, loaded.tokenizer, stop_ids(loaded.base), labels=speaker.labels)


def _encoded(speaker: Speaker, items: Sequence[Item]) -> tuple[tuple[Row, ...], ...]:
    """The rows of each item's reference, the same for all who speak through a base; none where it does not fit."""
    objective = _objective(speaker)
    limit = length_limit(speaker.loaded.base.config, WITHOUT_LIMIT)
    return tuple(_rows(objective, item.example, limit) for item in items)


def _rows(objective: Objective, example: Example, limit: int) -> tuple[Row, ...]:
    """What the reference of an item is learned from: a text in pieces, or the last answer of a conversation."""
    text = bool(example.text) and example.label is None
    try:
        rows = objective.encode([example], min(limit, DEFAULT_LENGTH) if text else limit, "test")
    except InvalidData:
        return ()
    if text:
        return rows.rows
    # Under some templates every answer has a row of its own, and a long one may be missing: the last is the longest.
    return () if rows.too_long else (_last_answer(rows.rows[-1]),)


def _last_answer(row: Row) -> Row:
    """A row that learns its last run of learned tokens alone: earlier answers are given, not asked for.

    Of sequence-to-sequence models and classifiers all labels are the answer.
    """
    from lftreg.objectives.rows import IGNORED

    learned = [at for at, label in enumerate(row.labels) if label != IGNORED]
    first = learned[-1]
    while first and row.labels[first - 1] != IGNORED:
        first -= 1
    return replace(row, labels=(*[IGNORED] * first, *row.labels[first:]))


def _weighed(
    spoken: Answers,
    speaker: Speaker,
    ref: str,
    items: Sequence[Item],
    encoded: Sequence[Sequence[Row]],
    tell: _Teller,
) -> Answers:
    """The answers of a speaker with its losses."""
    rows = [row for one in encoded for row in one]
    losses = iter(_losses(speaker, ref, rows, tell.part("losses")))
    nats = tuple(sum(next(losses) for _ in one) if one else None for one in encoded)
    tokens = tuple(sum(row.learned for row in one) for one in encoded)
    sizes = tuple(len((item.reference or item.example.text).encode()) for item in items)
    return replace(spoken, nats=nats, tokens=tokens, bytes=sizes)


def _losses(
    speaker: Speaker, ref: str, rows: Sequence[Row], on_done: Callable[[int, int], None]
) -> list[float]:
    """The loss of each row in nats, summed over what it learns."""
    import torch

    objective = _objective(speaker)
    made: dict[int, float] = {}
    with speaker.using(ref) as model, torch.inference_mode():
        for places in _batches([row.length for row in rows]):
            found: Any = objective.losses(model, [rows[place] for place in places])
            made |= zip(places, found.double().tolist(), strict=True)
            on_done(len(made), len(rows))
    return [made[place] for place in range(len(rows))]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of rows of like length, the longest first, in batches that fit a forward pass."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    while order:
        size = max(1, min(LOSS_ROWS, LOSS_TOKENS // lengths[order[0]]))
        yield order[:size]
        order = order[size:]
