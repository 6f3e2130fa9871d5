"""A ruler for the topic, made of what the bare base makes of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lftreg.evaluation.metrics.relevance import METRICS, generic_texts, measure
from lftreg.plugins.host import Host
from lftreg.plugins.types import Measured, Outputs
from tests.evaluation.metrics.conftest import asked, mean, stated

if TYPE_CHECKING:
    from lftreg.models.load import Loaded

DOMAINS = ("customer_support", "financial_advisor", "creative_writing", "code_generation")
Embed = Callable[[Sequence[str]], np.ndarray]


@pytest.fixture(scope="module")
def embed() -> Embed:
    """The starter base, which reads each text once."""
    from lftreg.evaluation.embedding import mean_pooled
    from lftreg.models.base import find_base
    from lftreg.models.load import load_base

    base: Loaded = load_base(find_base("starter"), "float32")
    known: dict[str, np.ndarray] = {}

    def vectors(texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, mean_pooled(base, base.model, new), strict=True))
        return np.stack([known[text] for text in texts])

    return vectors


def outputs(answers: Sequence[str], references: Sequence[str], embed: Embed | None) -> Outputs:
    blank = ("",) * len(answers)
    return Outputs(blank, tuple(references), tuple(answers), blank, embed=embed)


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
def test_answers_of_a_domain_are_relevant_and_others_less(embed: Embed, domain: str) -> None:
    gold = asked(domain).references

    def score(answers: Sequence[str]) -> Measured:
        return measure(outputs(answers, gold, embed))

    own = score(gold)
    assert stated(own.note) > 0.85
    assert mean(own) > 0.7
    assert mean(score(generic_texts()[1 : 2 * len(gold) : 2])) < 0.4
    for other in set(DOMAINS) - {domain}:
        assert mean(score(asked(other).references)) < mean(own) - 0.1, other


@pytest.mark.slow
def test_generic_text_called_a_domain_is_not_measurable(embed: Embed) -> None:
    texts = generic_texts()
    found = measure(outputs(texts[::2], texts[::2], embed))
    assert not found.measurable
    assert found.note.startswith("not measurable on this data: ")
    assert stated(found.note) < 0.8
    assert set(found.values) == {None}


# Vectors drawn for each text: around 3 in one dimension for the domain's, around 0 for the rest.
REFERENCES = [f"Our own text, number {n}." for n in range(40)]


def drawn(texts: Sequence[str]) -> np.ndarray:
    def vector(text: str) -> np.ndarray:
        noise = np.random.default_rng(list(text.encode())).normal(size=8)
        return noise + 6.0 * (np.arange(8) == 0) * text.startswith("Our own")

    return np.stack([vector(text) for text in texts]).astype(np.float32)


def test_the_reference_of_an_item_is_none_of_its_neighbours() -> None:
    odd = "A text of ours that is like any other."  # lies among the generic ones
    references = [odd, *REFERENCES]
    own = measure(outputs(references, references, drawn))
    assert own.values[0] is not None
    moved = measure(outputs([REFERENCES[0], odd, *REFERENCES[1:]], references, drawn))
    # Under another item the odd text itself is the nearest of the ten.
    assert moved.values[1] == pytest.approx(own.values[0] + 0.1)


def test_equal_texts_count_once_and_the_signature_tells_how_many() -> None:
    once = measure(outputs(REFERENCES, REFERENCES, drawn))
    twice = measure(outputs(REFERENCES * 2, REFERENCES * 2, drawn))
    assert twice.values[:40] == once.values
    assert once.signature == twice.signature == "k=10 n=40"


def test_an_empty_answer_is_about_nothing() -> None:
    found = measure(outputs(["", " ", "?!", *REFERENCES[3:]], REFERENCES, drawn))
    assert found.values[:3] == (0.0, 0.0, 0.0)
    assert found.values[3] == 1.0


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (measure(outputs(REFERENCES, REFERENCES, None)), "no embeddings"),
        (measure(outputs(REFERENCES, ["Our own."] * 40, drawn)), "here are 1"),
        (measure(outputs([], [], drawn)), "here are 0"),
        (measure(outputs(REFERENCES, [r[4:] for r in REFERENCES], drawn)), "does not tell the domain"),
        (
            measure(outputs(REFERENCES, REFERENCES, lambda t: np.ones((len(t), 4), np.float32))),
            "does not tell",
        ),
    ],
    ids=["no embeddings", "one text", "nothing", "noise", "all alike"],
)
def test_where_it_cannot_measure_it_says_why(found: Measured, why: str) -> None:
    assert not found.measurable
    assert found.note.startswith("not measurable on this data: ")
    assert why in found.note
    assert set(found.values) <= {None}


def test_generic_texts_are_many_and_of_all_sorts() -> None:
    texts = generic_texts()
    lengths = [len(text.split()) for text in texts]
    assert len(set(texts)) == len(texts) >= 150
    assert min(lengths) < 8 and max(lengths) > 50
    assert sum(text.endswith("?") for text in texts) > 10
    assert sum(text.startswith('"') for text in texts) > 10
    taught = {row.response for name in DOMAINS for row in Host(external=False).domain(name).build("train", 0)}
    assert not taught & set(texts)


def test_the_metric_needs_references_and_embeddings() -> None:
    (metric,) = METRICS
    assert (metric.name, metric.unit, metric.better, metric.needs) == (
        "relevance",
        "share",
        "higher",
        ("references", "embeddings"),
    )
    assert Host(external=False).metric("relevance") is metric
