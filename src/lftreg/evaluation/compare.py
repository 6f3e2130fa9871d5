"""Fine-tuning against retrieval, on one's own questions: six ways to answer them through one base in memory.

base          the question alone            rag           behind the passages that a search finds
few_shot      behind the nearest rows       adapter_rag   the adapter, behind the same passages
adapter       the adapter, question alone   oracle        behind the passage that holds the answer: what a
                                                          perfect search would be worth

All arms answer the same items greedily, so their differences are taken item by item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from lftreg.budget.time import break_even
from lftreg.data.splits import key_of
from lftreg.errors import InvalidData, UsageError
from lftreg.evaluation.arms import (
    ARMS,
    TITLES,
    WITH_ADAPTER,
    ArmName,
    Material,
    ask,
    make_material,
)
from lftreg.evaluation.contamination import find_contamination
from lftreg.evaluation.costs import price_of, take_times, training_cost
from lftreg.evaluation.extras import extra
from lftreg.evaluation.figures import METRICS, Arm, Said, figures_of
from lftreg.evaluation.retrieval import Documents, find_gold
from lftreg.evaluation.suite import Item, Suite
from lftreg.models.answers import Decoding, Generation
from lftreg.models.base import find_base
from lftreg.models.generate import BASE_PREFIX, Speaker
from lftreg.models.tasks import CAUSAL, SEQ2SEQ, natural_task
from lftreg.plugins.host import Host
from lftreg.plugins.types import Example
from lftreg.registry import Registry, Version

T = TypeVar("T")
OnProgress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked, and the rows of train that examples are taken from. `name` is how the data was named."""

    name: str
    items: tuple[Item, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a comparison is made. `limit` items are asked, all if None; `seed` says which, and which are timed.

    `price_per_hour` is in US dollars; None takes that of this machine's GPU.
    """

    metric: str = "token_f1"
    shots: int = 3
    top_k: int = 3
    max_tokens: int = 128
    limit: int | None = None
    seed: int = 0
    price_per_hour: float | None = None
    quantize: str | None = None
    trust_code: bool = False

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UsageError(f"--metric {self.metric} is unknown", f"there are {', '.join(METRICS)}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """All arms side by side.

    `answers` and `qualities` are of each arm by the item's place, None where it was not asked.
    """

    questions: str
    documents: Documents
    items: tuple[Item, ...]
    version: Version | None
    base: str
    settings: Settings
    arms: Mapping[ArmName, Arm]
    break_even: Mapping[str, float | None]
    gold: Mapping[Item, tuple[int, ...]]
    answers: Mapping[ArmName, Sequence[str | None]]
    qualities: Mapping[ArmName, Sequence[float | None]]
    price_per_hour: float | None
    notes: tuple[str, ...]


def compare(
    questions: Questions,
    documents: Documents,
    base: str,
    version: Version | None,
    registry: Registry,
    host: Host,
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Ask every arm the same items. `base` is the name of a base; without a version its two arms are left out.

    Raises InvalidData where there is nothing to ask, or all of it was trained on; Incompatible for a version of
    another base; UsageError for a base that does not answer with words; Unavailable without the extra `eval`.
    """
    settings = settings or Settings()
    extra("bm25s")  # before a base is read, which may take minutes
    _check_base(base, registry, settings)
    told = on_progress or (lambda what, done, total: None)
    notes: list[str] = []
    items = _answerable(questions, notes)
    if version is not None:
        items = _unseen(items, version, registry, host, notes)
    refs: dict[ArmName, str] = {
        arm: version.ref if version and arm in WITH_ADAPTER else BASE_PREFIX + base for arm in ARMS
    }
    voices = list(dict.fromkeys(refs.values()))
    speaker = Speaker(voices, registry, quantize=settings.quantize, trust_code=settings.trust_code)
    items, material = _material(items, questions, documents, speaker, settings, notes)
    arms = [arm for arm in ARMS if _possible(arm, version, material, notes)]
    said = {arm: _asked(arm, items, material) for arm in arms}
    _answer(said, refs, speaker, settings.max_tokens, told)
    timed = [item for item in items if material.gold[item]] or items
    timing = take_times(arms, refs, timed, material, speaker, settings.max_tokens, told)
    price = price_of(settings.price_per_hour)
    figures = figures_of(said, items, material, timing, price, settings.metric, host)
    notes += _remarks(said, items, material, price)
    return Comparison(
        questions.name, documents, items, version, base, settings, figures,
        _break_even(version, figures, price, notes), material.gold,
        {arm: _by_item(one, [a.text for a in one.answers], len(items)) for arm, one in said.items()},
        {arm: _by_item(said[arm], one.each, len(items)) for arm, one in figures.items()}, price, tuple(notes),
    )  # fmt: skip


def _answerable(questions: Questions, notes: list[str]) -> tuple[Item, ...]:
    """The items that ask something and know the answer."""
    found = tuple(item for item in questions.items if item.asked and item.reference.strip())
    if not found:
        raise InvalidData(
            f"the test split of {questions.name} has no question with an answer",
            "give rows with a prompt and a response",
            code="no-items",
        )
    if left := len(questions.items) - len(found):
        notes.append(f"{left} rows have no question or no answer, and are left out")
    return found


def _unseen(
    items: tuple[Item, ...], version: Version, registry: Registry, host: Host, notes: list[str]
) -> tuple[Item, ...]:
    """The items whose question a version was not trained on."""
    found = find_contamination(Suite("", items), version, registry, host)
    seen = found.word_for_word
    notes += [f"whether it was trained on these questions is not known: {reason}" for reason in found.unknown]
    if len(seen) == len(items):
        raise InvalidData(
            f"{version.ref} was trained on every one of these {len(items)} questions: what it answers is memory",
            "name data that it has not seen, or train it on rows of train only",
            code="trained-on-test",
        )
    if seen:
        notes.append(f"{len(seen)} questions were trained on by {version.ref}, and are left out")
    return tuple(item for place, item in enumerate(items) if place not in seen)


def _check_base(base: str, registry: Registry, settings: Settings) -> None:
    """Before any weight is read: a base has to answer with words."""
    task = natural_task(find_base(base, registry, trust_code=settings.trust_code).config)
    if task not in (CAUSAL, SEQ2SEQ):
        raise UsageError(
            f"{base} is a {task.words}, which writes no answers",
            "compare over a base that answers with words, such as the starter",
        )


def _material(
    items: tuple[Item, ...],
    questions: Questions,
    documents: Documents,
    speaker: Speaker,
    settings: Settings,
    notes: list[str],
) -> tuple[tuple[Item, ...], Material]:
    """The items that are asked, and what the arms draw on."""
    positions = speaker.positions
    room = None if positions is None else positions - settings.max_tokens
    fitting = [item for item in items if room is None or speaker.tokens(item.asked) <= room]
    if not fitting:
        raise InvalidData(
            f"no question leaves room for {settings.max_tokens} tokens of answer in the base's {positions}",
            "give a smaller --max-tokens, or another base",
            code="too-long",
        )
    if left := len(items) - len(fitting):
        notes.append(f"{left} questions are too long for the base, and are left out")
    chosen = choose(fitting, settings.limit, settings.seed)
    gold = find_gold(documents.passages, [item.reference for item in chosen])
    return chosen, make_material(
        questions.examples,
        documents.passages,
        dict(zip(chosen, gold, strict=True)),
        count=speaker.tokens,
        room=room,
        shots=settings.shots,
        top_k=settings.top_k,
    )


def choose(items: Sequence[Item], limit: int | None, seed: int) -> tuple[Item, ...]:
    """The first `limit` items in the order of a hash of seed and question: others join, none moves, as data grows."""
    keyed = [(hashlib.sha256(f"{seed}:{key_of(item.example)}".encode()).digest(), item) for item in items]
    return tuple(item for _, item in sorted(keyed, key=lambda pair: pair[0])[:limit])


def _possible(arm: ArmName, version: Version | None, material: Material, notes: list[str]) -> bool:
    if arm in WITH_ADAPTER and version is None:
        if arm == "adapter":
            notes.append("no adapter was named, so both arms with one are left out")
        return False
    if arm == "oracle" and not any(material.gold.values()):
        notes.append("no passage holds the answer to any question, so there is no right passage to show")
        return False
    return True


def _asked(arm: ArmName, items: Sequence[Item], material: Material) -> Said:
    places = [place for place, item in enumerate(items) if arm != "oracle" or material.gold[item]]
    return Said(places, [ask(arm, items[place], material) for place in places])


def _answer(
    said: Mapping[ArmName, Said],
    refs: Mapping[ArmName, str],
    speaker: Speaker,
    max_tokens: int,
    told: OnProgress,
) -> None:
    """Answers of every arm; `ask` has left each prompt the room for one."""
    total = sum(len(one.asked) for one in said.values())
    before = 0
    for arm, one in said.items():
        made = speaker.answer_turns(
            refs[arm],
            [asked.turns for asked in one.asked],
            Decoding(max_tokens),
            on_done=partial(_counted, told, arm, before, total),
        )
        one.answers = [answer or Generation("", "", 0) for answer in made]
        before += len(one.asked)


def _counted(told: OnProgress, arm: ArmName, before: int, total: int, done: int, _: int) -> None:
    told(TITLES[arm], before + done, total)


def _remarks(
    said: Mapping[ArmName, Said], items: Sequence[Item], material: Material, price: float | None
) -> list[str]:
    """What a reader has to know beside the figures."""
    found = []
    supported = sum(map(bool, material.gold.values()))
    if supported < len(items):
        found.append(
            f"the documents hold the answers to {supported} of {len(items)} questions; recall and "
            f"{TITLES['oracle']} are over those"
        )
    few = said["few_shot"]
    same = sum(
        any(material.examples[shot].response == items[place].reference for shot in asked.shots)
        for asked, place in zip(few.asked, few.places, strict=True)
    )
    if same:
        found.append(
            f"to {same} of {len(items)} questions an example shown has the very answer, which few-shot may copy"
        )
    for arm, one in said.items():
        if short := sum(asked.given_up > 0 for asked in one.asked):
            found.append(f"{short} prompts of {TITLES[arm]} had no room for all examples or passages")
    if price is None:
        found.append(
            "this machine has no known price, so nothing is told in money: "
            "lftreg config set price_per_hour DOLLARS"
        )
    return found


def _break_even(
    version: Version | None, arms: Mapping[ArmName, Arm], price: float | None, notes: list[str]
) -> dict[str, float | None]:
    """After how many queries the training is paid by what each of them saves, against RAG and few-shot."""
    found: dict[str, float | None] = {"rag": None, "few_shot": None}
    if version is None:
        return found
    cost = training_cost(version, price)
    if cost is None:
        notes.append(f"what training {version.ref} took is not known, so nothing breaks even")
        return found
    if price is None:
        notes.append("the break-even is counted in time, as if the machine that answers had trained")
    each = {arm: one.timing.seconds * (1.0 if price is None else price / 3600) for arm, one in arms.items()}
    return {"rag": break_even(cost, each["adapter"], each["rag"]),
            "few_shot": break_even(cost, each["adapter"], each["few_shot"])}  # fmt: skip


def _by_item(said: Said, values: Sequence[T], count: int) -> list[T | None]:
    found: list[T | None] = [None] * count
    for place, value in zip(said.places, values, strict=True):
        found[place] = value
    return found
