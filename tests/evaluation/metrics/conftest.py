"""Built-in domains and what the starter base answers to them, made once for all rulers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from lftreg.plugins.host import Host
from lftreg.plugins.types import Measured, Outputs

if TYPE_CHECKING:
    from lftreg.models.generate import Speaker

ITEMS = 60


@dataclass(frozen=True)
class Asked:
    """The first items of a domain's test split: n texts each."""

    prompts: tuple[str, ...]
    references: tuple[str, ...]
    base: tuple[str, ...] = ()

    def outputs(self, answers: tuple[str, ...]) -> Outputs:
        return Outputs(self.prompts, self.references, answers, self.base)


Ask = Callable[[str], Asked]


def mean(found: Measured) -> float:
    """Of the items that a ruler measured."""
    assert found.measurable, found.note
    return fmean(value for value in found.values if value is not None)


def stated(note: str) -> float:
    """How well a ruler says that it tells apart what it has not seen."""
    told = re.search(r"AUC (\d\.\d\d)", note)
    assert told is not None, note
    return float(told[1])


@cache
def asked(domain: str) -> Asked:
    """Without anybody's answers."""
    rows = list(Host(external=False).domain(domain).build("test", 0))[:ITEMS]
    return Asked(tuple(row.prompt for row in rows), tuple(row.response for row in rows))


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    from lftreg.models.generate import Speaker
    from lftreg.paths import Home
    from lftreg.registry import Registry

    return Speaker(["base:starter"], Registry(Home(tmp_path_factory.mktemp("home"))))


@pytest.fixture(scope="session")
def ask(starter: Speaker) -> Ask:
    """A domain's items with the starter base's answers."""
    from lftreg.models.generate import Decoding

    @cache
    def answered(domain: str) -> Asked:
        items = asked(domain)
        told = starter.answer("base:starter", items.prompts, Decoding(max_tokens=48))
        return Asked(items.prompts, items.references, tuple(made.text for made in told))

    return answered
