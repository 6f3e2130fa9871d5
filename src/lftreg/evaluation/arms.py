"""How each arm of a comparison asks a question: bare, behind worked examples, or behind passages.

What an arm adds stands where any base can read it: examples are earlier turns of the conversation, passages stand
in the question itself, since many chat templates know no system prompt. A prompt that would leave no room for
an answer gives up the examples and passages that fit the question least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lftreg.evaluation.retrieval import Index, Passage
from lftreg.evaluation.suite import Item
from lftreg.plugins.types import Example, Message

ArmName = Literal["base", "few_shot", "adapter", "rag", "adapter_rag", "oracle"]
ARMS: tuple[ArmName, ...] = ("base", "few_shot", "adapter", "rag", "adapter_rag", "oracle")
TITLES: Mapping[ArmName, str] = {
    "base": "base",
    "few_shot": "base + examples",
    "adapter": "adapter",
    "rag": "base + search",
    "adapter_rag": "adapter + search",
    "oracle": "base + right passage",
}
WITH_ADAPTER: frozenset[ArmName] = frozenset({"adapter", "adapter_rag"})
WITH_SEARCH: frozenset[ArmName] = frozenset({"rag", "adapter_rag"})
OPENING = "Answer the question with what these passages say."

Conversation = tuple[Message, ...]
Counted = Callable[[Sequence[Message]], int]  # the tokens of a conversation up to where the answer begins


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as an arm writes it: its turns, their tokens, and the places of what it adds.

    `shots` are places of rows of train, `passages` of passages of the documents, in the order of the prompt;
    `given_up` counts those that there was no room for.
    """

    turns: Conversation
    tokens: int
    shots: tuple[int, ...] = ()
    passages: tuple[int, ...] = ()
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Material:
    """What the arms draw on: rows of train and the documents, each with its index.

    `shots` and `top_k` are how many of them a prompt may hold, `room` the tokens it may have, None for any
    number; `gold` maps an item to the passages that hold its answer.
    """

    examples: Sequence[Example]
    nearest: Index
    passages: Sequence[Passage]
    index: Index
    gold: Mapping[Item, tuple[int, ...]]
    count: Counted
    room: int | None
    shots: int
    top_k: int


def make_material(
    examples: Sequence[Example],
    passages: Sequence[Passage],
    gold: Mapping[Item, tuple[int, ...]],
    *,
    count: Counted,
    room: int | None,
    shots: int,
    top_k: int,
) -> Material:
    """Index passages, and the rows of train that have a question and an answer, each of them once."""
    usable = [example for example in dict.fromkeys(examples) if example.prompt and example.response]
    return Material(
        usable,
        Index([example.prompt for example in usable]),
        passages,
        Index([passage.text for passage in passages]),
        gold,
        count,
        room,
        shots,
        top_k,
    )


def ask(arm: ArmName, item: Item, material: Material) -> Asked:
    """The prompt of an arm for an item, searches and all: what a query costs, it costs here. Never the reference."""
    return _WRITERS[arm](item, material)


def with_shots(asked: Conversation, shots: Sequence[Example]) -> Conversation:
    """Earlier turns that show how such questions are answered, behind what the system says."""
    said = [m for m in asked if m.role == "system"]
    shown = [
        turn
        for example in shots
        for turn in (Message("user", example.prompt), Message("assistant", example.response))
    ]
    return (*said, *shown, *(m for m in asked if m.role != "system"))


def with_passages(asked: Conversation, passages: Sequence[Passage]) -> Conversation:
    """The last question behind numbered passages, and what to do with them."""
    if not passages:
        return asked
    numbered = "\n\n".join(f"[{number}] {passage.text}" for number, passage in enumerate(passages, start=1))
    *before, question = asked
    return (*before, Message(question.role, f"{OPENING}\n\n{numbered}\n\nQuestion: {question.content}"))


def _bare(item: Item, material: Material) -> Asked:
    return Asked(item.asked, material.count(item.asked))


def _few_shot(item: Item, material: Material) -> Asked:
    """The nearest rows of train, the nearest of all last: right before the question."""
    places = material.nearest.search(item.prompt, material.shots)[::-1]

    def write(chosen: Sequence[int]) -> Conversation:
        return with_shots(item.asked, [material.examples[place] for place in chosen])

    turns, tokens, kept = _within(material, places, write, farthest=0)
    return Asked(turns, tokens, shots=kept, given_up=len(places) - len(kept))


def _searched(item: Item, material: Material) -> Asked:
    return _from(material.index.search(item.prompt, material.top_k), item, material)


def _told(item: Item, material: Material) -> Asked:
    """The first passage that truly holds the answer, as a perfect search would find it."""
    return _from(material.gold.get(item, ())[:1], item, material)


def _from(places: Sequence[int], item: Item, material: Material) -> Asked:
    def write(chosen: Sequence[int]) -> Conversation:
        return with_passages(item.asked, [material.passages[place] for place in chosen])

    turns, tokens, kept = _within(material, places, write, farthest=-1)
    return Asked(turns, tokens, passages=kept, given_up=len(places) - len(kept))


def _within(
    material: Material,
    places: Sequence[int],
    write: Callable[[Sequence[int]], Conversation],
    *,
    farthest: int,
) -> tuple[Conversation, int, tuple[int, ...]]:
    """A prompt within the room: the one `farthest` from the question goes until it fits, or nothing is left."""
    kept = list(places)
    while True:
        turns = write(kept)
        tokens = material.count(turns)
        if not kept or material.room is None or tokens <= material.room:
            return turns, tokens, tuple(kept)
        kept.pop(farthest)


_WRITERS: Mapping[ArmName, Callable[[Item, Material], Asked]] = {
    "base": _bare,
    "few_shot": _few_shot,
    "adapter": _bare,
    "rag": _searched,
    "adapter_rag": _searched,
    "oracle": _told,
}
