"""A ruler for style is believed where controls fail on it: right words, wrong style."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from lftreg.evaluation.metrics.style import FOLDS, METRICS, measure
from lftreg.evaluation.separation import FEWEST
from lftreg.plugins.types import Outputs
from tests.evaluation.metrics.conftest import Ask, Asked, asked, mean, stated

DOMAINS = ("customer_support", "creative_writing")


def shuffled(text: str) -> str:
    words = text.split()
    random.Random(len(text)).shuffle(words)
    return " ".join(words)


def bare(text: str) -> str:
    return re.sub(r"[^\w\s]", "", text).lower()


def chatty(text: str) -> str:
    swaps = {"you": "u", "your": "ur", "are": "r", "for": "4", "to": "2", "and": "n"}
    words = [swaps.get(word, word) for word in bare(text).split()]
    return f"omg {' '.join(words)} lol!!!"


def stiff(text: str) -> str:
    """Another register: long openings, passive turns, no full stop before the end."""
    joined = text[1:-1].replace(". ", "; ")
    return f"It is hereby brought to the attention of the reader that {text[0].lower()}{joined} (sic)."


CONTROLS: dict[str, Callable[[str], str]] = {
    "words shuffled": shuffled,
    "case and punctuation gone": bare,
    "shouted": str.upper,
    "chatty": chatty,
    "stiff": stiff,
}


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
def test_references_are_in_style_and_the_base_is_not(ask: Ask, domain: str) -> None:
    items = ask(domain)
    gold, base = measure(items.outputs(items.references)), measure(items.outputs(items.base))
    assert (
        gold.note == base.note == f"held-out AUC {stated(gold.note):.2f} over {len(items.prompts)} references"
    )
    assert stated(gold.note) > 0.95
    assert mean(gold) > 0.8
    assert mean(base) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_the_same_words_in_another_style_fail(ask: Ask, domain: str, control: str) -> None:
    items = ask(domain)
    changed = tuple(map(CONTROLS[control], items.references))
    assert mean(measure(items.outputs(changed))) < mean(measure(items.outputs(items.references))) / 2


@pytest.mark.slow
@pytest.mark.parametrize(("domain", "other"), [DOMAINS, DOMAINS[::-1]])
def test_the_references_of_another_domain_fail(ask: Ask, domain: str, other: str) -> None:
    items = ask(domain)
    strangers = asked(other).references
    assert mean(measure(items.outputs(strangers))) < mean(measure(items.outputs(items.references))) / 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_with_labels_drawn_by_lot_it_says_that_it_cannot_measure(ask: Ask, seed: int) -> None:
    items = ask("customer_support")
    draw = random.Random(seed)
    pairs = [draw.sample(pair, 2) for pair in zip(items.references, items.base, strict=True)]
    mixed = Asked(items.prompts, tuple(one for one, _ in pairs), tuple(other for _, other in pairs))
    found = measure(mixed.outputs(items.references))
    assert not found.measurable
    assert found.note.startswith("not measurable on this data")
    assert set(found.values) == {None}
    assert 0.3 < stated(found.note) < 0.7


# Two writers without any model: the references of one domain against those of another.
def written(n: int = 40) -> Asked:
    items = asked("customer_support")
    return Asked(items.prompts[:n], items.references[:n], asked("creative_writing").references[:n])


@pytest.mark.slow
def test_an_item_is_judged_by_what_never_saw_it() -> None:
    items = written()
    before = measure(items.outputs(items.references))
    for at in (0, 7, 39):
        references, base = list(items.references), list(items.base)
        references[at], base[at] = "WHO knows?! not i...", "nor do we ;)"
        other = Asked(items.prompts, tuple(references), tuple(base))
        after = measure(other.outputs(items.references))
        assert after.values[at] == before.values[at]
        assert after.values != before.values  # while the rest did see it


@pytest.mark.slow
def test_items_of_one_reference_are_judged_together() -> None:
    items = written()
    doubled = Asked(
        items.prompts * 2, items.references * 2, (*items.base, *asked("financial_advisor").references[:40])
    )
    first = measure(doubled.outputs(doubled.references))
    changed = ["?!" + text.upper() if at == 3 else text for at, text in enumerate(doubled.base)]
    second = measure(Asked(doubled.prompts, doubled.references, tuple(changed)).outputs(doubled.references))
    assert first.values[3] == first.values[43] == second.values[3] == second.values[43]


def test_an_empty_answer_is_in_no_style() -> None:
    items = written()
    answers = ("", " \n", "...", *items.references[3:])
    assert measure(items.outputs(answers)).values[:3] == (0.0, 0.0, 0.0)


def test_items_without_a_reference_are_judged_by_the_others() -> None:
    items = written()
    some = Asked(items.prompts, ("", *items.references[1:]), items.base)
    found = measure(some.outputs(items.references))
    assert found.note.endswith("over 39 references")
    assert found.values[0] is not None


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (written(FEWEST - 1), f"here are {FEWEST - 1}"),
        (Asked(("q",) * 50, ("Always the same.",) * 50, written(50).base), "here are 1"),
        (Asked(("q",) * 50, ("",) * 50, written(50).base), "here are 0"),
        (Asked((), (), ()), "here are 0"),
        (Asked(written().prompts, written().references, ("I do not know.",) * 40), "too many"),
        (Asked(written().prompts, written().references, ("",) * 40), "too many"),
        (Asked(written().prompts, written().references, written().references), "AUC 0.50"),
    ],
    ids=[
        "few",
        "one reference",
        "no reference",
        "nothing",
        "a base of one answer",
        "silent base",
        "base is right",
    ],
)
def test_where_it_cannot_measure_it_says_why(case: Asked, why: str) -> None:
    found = measure(case.outputs(case.references))
    assert not found.measurable
    assert found.note.startswith("not measurable on this data: ")
    assert why in found.note
    assert found.values == (None,) * len(case.prompts)


WORDS = {
    "ru": ("заказ", "товар", "пакет", "адрес", "платёж", "возврат"),
    "ja": ("注文", "商品", "荷物", "住所", "支払い", "返品"),
}
STYLES = {
    "ru": ("Ваш {} и {} мы получили, {} проверим сегодня.", "ну {} есть!!! а {} нет, {} тоже))"),
    "ja": ("{}と{}を確認しました。{}は本日中にお届けします。", "{}ないよ〜！{}も！！{}も笑"),
}


@pytest.mark.parametrize("language", WORDS)
def test_other_scripts_are_measured_too(language: str) -> None:
    words = WORDS[language]
    drawn = [random.Random(n).sample(words, 3) for n in range(40)]
    neat, loose = (tuple(style.format(*w) for w in drawn) for style in STYLES[language])
    items = Asked(("?",) * 40, neat, loose)
    assert mean(measure(items.outputs(neat))) > 0.8
    assert mean(measure(items.outputs(loose))) < 0.2


ALONE = """
from tests.evaluation.metrics.test_style import written
from lftreg.evaluation.metrics.style import measure
items = written()
print(measure(items.outputs(items.base[:5] + items.references[5:])))
"""


@pytest.mark.slow
def test_it_finds_the_same_in_every_process() -> None:
    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", ALONE], env=environment, capture_output=True, text=True, check=True
        ).stdout

    one, other = run("1"), run("2")
    assert "AUC" in one
    assert one == other


def test_every_fold_holds_items_and_the_metric_is_a_share() -> None:
    (metric,) = METRICS
    assert (metric.name, metric.unit, metric.better, metric.needs) == (
        "style",
        "share",
        "higher",
        ("references", "base"),
    )
    assert FEWEST >= 2 * FOLDS


def test_a_metric_gives_a_value_for_each_answer() -> None:
    items = written()
    outputs: Outputs = items.outputs(items.base)
    values = measure(outputs).values
    assert len(values) == len(outputs)
    assert all(value is not None and 0 <= value <= 1 for value in values)
