"""The built-in metrics of text and loss: against the libraries that define them, and by hand."""

from __future__ import annotations

import logging
import math
import os
import random
import sys
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from lftreg.errors import Unavailable
from lftreg.evaluation.metrics import texts
from lftreg.evaluation.statistics import compare
from lftreg.plugins.host import Host
from lftreg.plugins.types import Measured, Metric, Outputs

METRICS = {name: found.value for name, found in Host(external=False).metrics().items()}
VOCABULARY = (
    "a",
    "the",
    "cat",
    "dog",
    "sits",
    "runs",
    "sleeps",
    "on",
    "mat",
    "roof,",
    "quickly.",
    "Street",
    "42",
)


def outputs(answers: Sequence[str], references: Sequence[str] | None = None, **more: Any) -> Outputs:
    texts = tuple(references or ("",) * len(answers))
    return Outputs(("?",) * len(answers), texts, tuple(answers), ("",) * len(answers), **more)


def measure(
    name: str, answers: Sequence[str], references: Sequence[str] | None = None, **more: Any
) -> Measured:
    return METRICS[name].measure(outputs(answers, references, **more))


def total(found: Measured, places: Sequence[int] | None = None) -> float:
    assert found.total is not None
    return found.total(np.arange(len(found.values)) if places is None else np.array(places))


def sentences(count: int, seed: int) -> tuple[list[str], list[str]]:
    """References, and answers that change about every third word of them; some are empty."""
    draw = random.Random(seed)
    references = [draw.choices(VOCABULARY, k=draw.randint(1, 15)) for _ in range(count)]
    answers = [[w if draw.random() < 0.7 else draw.choice(VOCABULARY) for w in text] for text in references]
    answers[0] = []
    return [" ".join(text) for text in references], [" ".join(text) for text in answers]


# Losses


def test_perplexity_counts_every_token_the_same() -> None:
    found = measure("perplexity", ["", ""], ["a", "b"], nats=(2.0, 9.0), tokens=(1, 9), bytes=(3, 30))
    assert found.values == (pytest.approx(math.exp(2)), pytest.approx(math.exp(1)))
    assert total(found) == pytest.approx(math.exp(11 / 10))  # and not the mean of the two
    assert total(found, [1]) == pytest.approx(math.exp(1))


def test_a_model_that_guesses_among_so_many_tokens_has_that_perplexity() -> None:
    found = measure(
        "perplexity", [""] * 3, ["x"] * 3, nats=tuple(n * math.log(50) for n in (1, 4, 7)), tokens=(1, 4, 7)
    )
    assert total(found) == pytest.approx(50)


def test_bits_per_byte_do_not_know_of_tokens() -> None:
    nats = (8 * math.log(2), 2 * math.log(2))
    few = measure("bits_per_byte", ["", ""], ["a", "b"], nats=nats, tokens=(1, 1), bytes=(4, 6))
    many = measure("bits_per_byte", ["", ""], ["a", "b"], nats=nats, tokens=(4, 6), bytes=(4, 6))
    assert few.values == many.values == (pytest.approx(2), pytest.approx(1 / 3))
    assert total(few) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["perplexity", "bits_per_byte"])
def test_a_reference_that_is_empty_has_no_loss(name: str) -> None:
    found = measure(name, [""] * 3, ["a", "", "b"], nats=(1.0, 5.0, 1.0), tokens=(1, 0, 1), bytes=(1, 0, 1))
    assert found.values[1] is None
    assert total(found) == total(found, [0, 2])
    assert math.isnan(total(found, [1]))


@pytest.mark.parametrize("nats", [math.nan, math.inf, 1e6])
def test_a_loss_that_is_no_number_is_not_left_out(nats: float) -> None:
    good = measure("perplexity", [""] * 60, ["x"] * 60, nats=(1.0,) * 60, tokens=(1,) * 60)
    bad = measure("perplexity", [""] * 60, ["x"] * 60, nats=(0.1,) * 59 + (nats,), tokens=(1,) * 60)
    found = compare(good, bad, "lower")
    assert (found.n, found.adapter, found.winner) == (60, math.inf, None)


# sacrebleu


@pytest.mark.parametrize(("name", "scorer"), [("bleu", BLEU()), ("chrf", CHRF(word_order=2))])
@pytest.mark.parametrize("seed", range(5))
def test_the_score_of_any_items_is_sacrebleus(name: str, scorer: Any, seed: int) -> None:
    references, answers = sentences(80, seed)
    found = measure(name, answers, references)
    assert total(found) == pytest.approx(scorer.corpus_score(answers, [references]).score, rel=1e-12)
    places = random.Random(seed).sample(range(80), 30)
    some = scorer.corpus_score([answers[p] for p in places], [[references[p] for p in places]]).score
    assert total(found, places) == pytest.approx(some, rel=1e-12)
    assert found.signature == str(scorer.get_signature())


def test_the_score_of_one_item_is_sacrebleus() -> None:
    references, answers = sentences(80, 6)
    for name, scorer in (("bleu", BLEU(effective_order=True)), ("chrf", CHRF(word_order=2))):
        known = [scorer.sentence_score(a, [r]).score for a, r in zip(answers, references, strict=True)]
        assert measure(name, answers, references).values == pytest.approx(known, rel=1e-12)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_the_same_text_has_all_points_and_another_none(name: str) -> None:
    long = "the cat sits under the old roof"
    assert total(measure(name, [long] * 2, [long] * 2)) == pytest.approx(100)
    assert total(measure(name, ["", ""], [long] * 2)) == 0


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_an_item_without_a_reference_counts_for_nothing(name: str) -> None:
    references, answers = sentences(20, 7)
    with_more = measure(name, [*answers, "a word too much"], [*references, ""])
    assert with_more.values[-1] is None
    assert total(with_more) == total(measure(name, answers, references))


def changed(answers: list[str], count: int) -> list[str]:
    return ["nothing of it is here"] * count + answers[count:]


@pytest.mark.parametrize(("name", "scorer"), [("bleu", BLEU()), ("chrf", CHRF(word_order=2))])
def test_the_p_value_is_sacrebleus_where_no_trial_is_a_tie(name: str, scorer: Any) -> None:
    references, one = sentences(60, 8)
    draw = random.Random(2)
    other = [
        " ".join(w if draw.random() < 0.7 else draw.choice(VOCABULARY) for w in text.split())
        for text in references
    ]
    test = METRICS[name].test
    assert test is not None
    ours = test(outputs(one, references), outputs(other, references))
    systems = [("one", one), ("other", other)]
    _, scores = PairedTest(systems, {name: scorer}, [references], test_type="ar")()
    theirs = scores[next(key for key in scores if key != "System")][1].p_value
    assert 0.01 < ours < 0.99
    assert ours == pytest.approx(theirs, abs=1e-4)


def hash_of(word: str) -> int:
    return sum(map(ord, word))


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_a_few_changed_answers_are_as_likely_as_their_signs(name: str) -> None:
    """Of k answers that all got worse, a coin falls the same way each time once in 2**(k - 1)."""
    references, _ = sentences(60, 9)
    test = METRICS[name].test
    assert test is not None
    for count, expected in ((0, 1.0), (1, 1.0), (3, 0.25), (5, 1 / 16)):
        p = test(outputs(references, references), outputs(changed(references, count), references))
        assert p == pytest.approx(expected, abs=0.02), count


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_the_test_of_a_corpus_score_agrees_with_the_jackknife(name: str) -> None:
    references, one = sentences(100, 10)
    other = [" ".join(word for word in text.split() if hash_of(word) % 5) for text in one]
    first, second = outputs(one, references), outputs(other, references)
    metric = METRICS[name]
    assert metric.test is not None
    jackknife = compare(metric.measure(first), metric.measure(second)).p
    assert jackknife is not None
    assert (metric.test(first, second) < 0.05) == (jackknife < 0.05)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_a_test_is_quiet_and_the_same_each_time(
    name: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    references, one = sentences(120, 11)
    one, other = [f"{text} ." for text in one], [f"{text} ." for text in changed(one, 20)]
    monkeypatch.setenv("SACREBLEU_SEED", "99")
    environment, state = dict(os.environ), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    test = METRICS[name].test
    assert test is not None
    with caplog.at_level(logging.DEBUG):
        first = test(outputs(one, references), outputs(other, references))
        measure(name, one, references)
    monkeypatch.delenv("SACREBLEU_SEED")
    assert first == test(outputs(one, references), outputs(other, references))
    assert dict(os.environ) | {"SACREBLEU_SEED": "99"} == environment
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index,union-attr]
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# Words


@pytest.mark.parametrize(("name", "kind"), [("rouge_1", "rouge1"), ("rouge_l", "rougeL")])
def test_rouge_of_english_is_that_of_rouge_score(name: str, kind: str) -> None:
    references, answers = sentences(60, 12)
    scorer = RougeScorer([kind])
    known = [scorer.score(r, a)[kind].fmeasure for r, a in zip(references, answers, strict=True)]
    assert measure(name, answers, references).values == pytest.approx(known)


@pytest.mark.parametrize("name", ["rouge_1", "rouge_l", "token_f1"])
@pytest.mark.parametrize("text", ["Где моя посылка?", "Größe und Maß", "荷物"])
def test_other_scripts_have_words_too(name: str, text: str) -> None:
    """The tokenizer of rouge-score alone would find none in Cyrillic and call the same answer wrong."""
    assert measure(name, [text, "no"], [text, text]).values == (1.0, 0.0)


def test_an_exact_match_knows_no_white_space() -> None:
    answers = [" 42\n", "forty  two", "Forty two", "", "x", "42."]
    references = ["42", "forty two", "forty two", "42", "", "42"]
    assert measure("exact_match", answers, references).values == (1, 1, 0, 0, None, 0)


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("The cat sat.", "a cat sat", 1.0),
        ("the cat", "the cat sat down", 0.5),  # 1 of 1 word, 1 of 3
        ("cat cat", "cat", 2 / 3),
        ("", "cat", 0.0),
        ("the", "The!", 1.0),
        ("dog", "cat", 0.0),
    ],
)
def test_shared_words_are_counted_as_in_squad(answer: str, reference: str, score: float) -> None:
    assert measure("token_f1", [answer], [reference]).values == (pytest.approx(score),)


# Variety and agreement


def test_distinct_words_are_counted_over_all_answers() -> None:
    answers = ["the cat sat", "the cat ran", ""]
    one, two = measure("distinct_1", answers), measure("distinct_2", answers)
    assert total(one) == pytest.approx(4 / 6)
    assert total(two) == pytest.approx(3 / 6)  # the cat, cat sat, cat ran
    assert one.values == (1.0, 1.0, None)
    assert total(one, [1]) == 1.0
    assert math.isnan(total(one, [2]))


def test_who_always_says_yes_agrees_with_itself_and_varies_in_nothing() -> None:
    """Why agreement stands beside accuracy and distinct_1, and says so."""
    n = 60
    references = [f"number {place}" for place in range(n)]
    yes = {"paraphrased": (("yes", "yes"),) * n, "samples": (("yes",) * 4,) * n}
    honest = {
        "paraphrased": tuple((f"it is number {place}", f"the number {place}") for place in range(n)),
        "samples": tuple((f"it is number {place}", f"the number {place}") for place in range(n)),
    }
    for name in ("response_consistency", "sample_consistency"):
        lazy, useful = (
            measure(name, ["yes"] * n, references, **yes),
            measure(name, references, references, **honest),
        )
        assert set(lazy.values) == {1.0}
        assert compare(useful, lazy).winner == "adapter"
        assert "yes" in lazy.note
        assert "accuracy" in lazy.note
        assert "distinct_1" in lazy.note
    assert set(measure("exact_match", ["yes"] * n, references).values) == {0.0}
    assert total(measure("distinct_1", ["yes"] * n)) == pytest.approx(1 / n)
    assert total(measure("distinct_1", references)) > 0.5


def test_agreement_is_the_mean_of_all_pairs() -> None:
    answers = ["the cat sat", "the cat", "no idea at all"]
    scorer = RougeScorer(["rougeL"])
    known = np.mean([scorer.score(a, b)["rougeL"].fmeasure for a, b in combinations(answers, 2)])
    found = measure("response_consistency", answers[:1], paraphrased=(tuple(answers[1:]),))
    assert found.values == (pytest.approx(known),)
    assert measure("sample_consistency", ["other"], samples=(tuple(answers),)).values == found.values


def test_one_answer_alone_neither_agrees_nor_disagrees() -> None:
    assert measure("response_consistency", ["a", "b"], paraphrased=((), ("b",))).values == (None, 1.0)
    assert measure("sample_consistency", ["a", "b"], samples=((), ("b",))).values == (None, None)


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [("", "", 1), ("", "yes", 0), ("?!", "?!", 1), ("?!", "...", 0), ("Yes!", "yes", 1)],
)
def test_answers_without_words_agree_where_they_are_the_same(one: str, other: str, score: float) -> None:
    assert texts.sequence_f1(one, other) == texts.sequence_f1(other, one) == score


def test_the_longest_common_sequence_is_that_of_the_table() -> None:
    scorer, draw = RougeScorer(["rougeL"]), random.Random(13)
    for _ in range(300):
        one, other = (" ".join(draw.choices("abcde", k=draw.randint(1, 90))) for _ in range(2))
        known = scorer.score(one, other)["rougeL"].fmeasure
        assert texts.sequence_f1(one, other) == pytest.approx(known)


# All of them


SHARES = [
    metric
    for metric in METRICS.values()
    if metric.unit == "share" and {"references", "paraphrases", "samples"}.issuperset(metric.needs)
]


@pytest.mark.parametrize("metric", SHARES, ids=lambda metric: metric.name)
def test_every_share_is_one(metric: Metric) -> None:
    references, answers = sentences(40, 14)
    others = tuple((text, reference) for text, reference in zip(answers, references, strict=True))
    found = metric.measure(outputs(answers, references, paraphrased=others, samples=others))
    known = [value for value in found.values if value is not None]
    assert known
    assert all(0 <= value <= 1 for value in known)


@pytest.mark.parametrize(
    ("name", "module"), [("bleu", "sacrebleu.metrics"), ("rouge_l", "rouge_score.rouge_scorer")]
)
def test_without_the_extra_it_is_said_how_to_get_it(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unavailable, match=f"needs the {module.partition('.')[0].replace('_', '-')} package"):
        measure(name, ["a"], ["a"])
