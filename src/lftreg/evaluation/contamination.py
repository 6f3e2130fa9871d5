"""Items that training has seen: what such an item measures is memory.

An item is contaminated where its question was trained on: word for word, or by thirteen words in a row (as in
GPT-3's contamination study, Brown et al. 2020, arXiv 2005.14165), case and punctuation aside. That its answer was
trained on is told apart: of a support desk it is the very thing that an adapter is meant to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lftreg.data.origin import examples_of
from lftreg.data.overlap import grams_in
from lftreg.errors import LftregError
from lftreg.evaluation.metrics.texts import words
from lftreg.evaluation.suite import Suite
from lftreg.plugins.host import Host
from lftreg.plugins.types import Example
from lftreg.registry import Lineage, Registry, Version


@dataclass(frozen=True, slots=True)
class Contamination:
    """What training saw of a suite: places of items, from 0.

    `asked` are items whose question was trained on, `word_for_word` those of them that were trained on as a whole,
    `answered` those whose answer was. `unknown` names the versions whose data could not be read, and why; what
    they saw is not known.
    """

    asked: frozenset[int]
    word_for_word: frozenset[int]
    answered: frozenset[int]
    unknown: tuple[str, ...] = ()


def find_contamination(suite: Suite, version: Version, registry: Registry, host: Host) -> Contamination:
    """What a version, and everything that it was made from, was trained on of a suite."""
    rows: list[Example] = []
    unknown: list[str] = []
    for source in _trained(registry.lineage(version.ref)):
        if isinstance(source, str):
            unknown.append(source)
            continue
        try:
            rows += examples_of(source, registry, host)["train"]
        except LftregError as error:
            unknown.append(f"{source.ref}: {error.message}")
    trained = [question for row in rows for question in _questions(row)]
    prompts = [list(_questions(item.example))[-1] for item in suite.items]
    whole = {tuple(words(prompt)) for prompt in trained} - {()}
    same = frozenset(place for place, prompt in enumerate(prompts) if tuple(words(prompt)) in whole)
    questions = _seen(trained, prompts)
    said = [m.content for row in rows for m in row.messages if m.role == "assistant"]
    answers = _seen([*said, *(row.response for row in rows)], [item.reference for item in suite.items])
    return Contamination(questions, same, answers, tuple(dict.fromkeys(unknown)))


def _questions(row: Example) -> Iterable[str]:
    """What a row asks, up to each turn of its user: a "Thanks!" is another one after other words."""
    asked: list[str] = []
    for message in row.messages:
        if message.role == "user":
            asked.append(message.content)
            yield "\n".join(asked)
    if not asked:
        yield row.text


def _seen(trained: Sequence[str], texts: Sequence[str]) -> frozenset[int]:
    """The places of those texts of which training holds a run of thirteen words, or the whole."""
    known = {gram for text in dict.fromkeys(trained) if words(text) for gram in grams_in(text)}
    return frozenset(
        place for place, text in enumerate(texts) if words(text) and not known.isdisjoint(grams_in(text))
    )


def _trained(found: Lineage) -> Iterable[Version | str]:
    """Every version of a lineage that was trained; in words, those that are gone or came from elsewhere."""
    version = found.version
    if version is None:
        yield f"{found.ref}: it is gone"
    elif version.kind == "imported":
        yield f"{version.ref}: it was imported, so its data is unknown"
    elif version.run is not None:
        yield version
    for parent in found.parents:
        yield from _trained(parent)
