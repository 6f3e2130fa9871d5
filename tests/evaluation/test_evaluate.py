"""An evaluation as a whole: real adapters on a real base, every figure against another way to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import Incompatible, InvalidData, NotFound, UsageError
from lftreg.evaluation import records
from lftreg.evaluation.asking import Wanted, ask
from lftreg.evaluation.evaluate import Asked, Figure, Report, Result, evaluate
from lftreg.evaluation.statistics import Difference, compare, holm
from lftreg.evaluation.suite import Suite, at_places, make_suite
from lftreg.models.answers import Decoding
from lftreg.models.generate import Speaker
from lftreg.plugins.host import Host
from lftreg.plugins.types import Example
from lftreg.registry import Registry
from lftreg.training import train
from tests.conftest import Tiny
from tests.evaluation.parrots import BLUE, RED, asking, teach
from tests.training.test_families import GENTLE, letters

pytestmark = pytest.mark.slow

BRIEF = Decoding(12)
LIGHT = ("perplexity", "bits_per_byte", "exact_match", "token_f1")  # what takes no time
TRAINED_ON = [Example.pair(f"What is thing {91 * n}?", RED) for n in (0, 4, 8)]
HOST = Host(external=False)
# Not all of it is what red says, so that item values differ.
MIXED = asking("mixed", [RED if n % 3 else f"{n} {BLUE}" for n in range(24)])
Run = Callable[..., Report]


@pytest.fixture
def run(taught: Registry) -> Run:
    def run(*refs: str, suite: Suite = MIXED, metrics: Any = LIGHT, **asked: Any) -> Report:
        return evaluate(refs, suite, taught, HOST, Asked(BRIEF, metrics, **asked))

    return run


def result(report: Report, ref: str) -> Result:
    return next(one for one in report.results if one.ref == ref)


def plain(figure: Figure) -> tuple[Any, ...]:
    """All of a figure but its adjusted p."""
    told = {kind: replace(one, adjusted=None) for kind, one in figure.differences.items()}
    return figure.measured.values, figure.value, figure.measured.note, told


def differences(report: Report, ref: str, kind: str = "base") -> dict[str, Difference]:
    figures = result(report, ref).figures
    return {name: one.differences[kind] for name, one in figures.items() if kind in one.differences}


# Who is asked, and what they are shown


def test_whoever_answers_never_sees_a_reference(taught: Registry) -> None:
    rows = [Example(e.example.messages, paraphrases=(f"{e.prompt} Tell me.",)) for e in MIXED.items]
    seen = make_suite("mixed", rows)
    others = [
        replace(row, messages=(row.messages[0], replace(row.messages[1], content=f"Else {n}.")))
        for n, row in enumerate(rows)
    ]
    unseen = make_suite("mixed", others)
    assert seen.digest != unseen.digest
    told: list[dict[str, Any]] = []
    for suite in (seen, unseen):
        report = evaluate(["red", "blue"], suite, taught, HOST, Asked(BRIEF, None, samples=2))
        assert report.suite.digest == suite.digest
        for one in report.everyone:
            told.append({"ref": one.ref, "p": one.outputs.paraphrased, "s": one.outputs.samples})
        for score in records.keep(report, taught):
            told[-1][score.ref] = [row["answer"] for row in taught.scores.items(score)]
            told[-1][f"{score.ref} prompts"] = [row["prompt"] for row in taught.scores.items(score)]
    half = len(told) // 2
    assert half == 3 and told[:half] == told[half:]
    answers = [told[2][ref] for ref in ("red@1", "blue@1", told[0]["ref"])]
    assert len({tuple(one) for one in answers}) == 3  # else nothing was proven
    assert len(set(answers[2])) > 10


def test_equal_content_is_asked_once_and_has_equal_figures(taught: Registry) -> None:
    heard: dict[str, int] = {}

    def hear(ref: str, done: int, total: int) -> None:
        heard[ref] = total

    report = evaluate(["red", "crimson"], MIXED, taught, HOST, Asked(BRIEF, LIGHT), hear)
    assert report.base is not None
    assert {told.removesuffix(", losses") for told in heard} == {report.base.ref, "red"}
    assert heard["red"] == heard["red, losses"] == len(MIXED.items)
    red, crimson = report.results
    assert (red.ref, crimson.ref, red.digest) == ("red", "crimson", crimson.digest)
    assert {name: plain(one) for name, one in red.figures.items()} == {
        name: plain(one) for name, one in crimson.figures.items()
    }
    assert len(report.everyone) == 2


@pytest.mark.parametrize("other", ["red", "red@1", "crimson"])
def test_nothing_differs_from_itself(run: Run, other: str) -> None:
    report = run("red", against=other)
    assert report.against is not None and report.against.ref == other
    assert differences(report, "red", "against") == {}
    assert set(differences(report, "red")) == set(LIGHT)


def test_another_version_is_compared_item_by_item(run: Run) -> None:
    report, blue = run("red", against="blue"), run("blue").results[0]
    assert report.against is not None and (report.against.ref, report.against.digest) == ("blue", blue.digest)
    assert [one.ref for one in report.results] == ["red"]
    red = result(report, "red")
    found = differences(report, "red", "against")
    assert set(found) == set(LIGHT)
    for name, one in found.items():
        assert (one.adapter, one.base) == pytest.approx((red.figures[name].value, blue.figures[name].value))
        mine, theirs = red.figures[name].measured, blue.figures[name].measured
        assert replace(one, adjusted=None) == replace(
            compare(theirs, mine, better=red.figures[name].metric.better), adjusted=None
        )
    assert found["exact_match"].delta > 0 > found["perplexity"].delta  # type: ignore[operator]
    assert len(report.everyone) == 3


def test_figures_do_not_depend_on_company(run: Run) -> None:
    alone = run("red", metrics=None).results[0]
    report = run("blue", "red", against="blue", metrics=None)
    beside = result(report, "red")
    assert set(alone.figures) == set(beside.figures) >= {"bleu", "chrf", "rouge_l", *LIGHT}
    for name, figure in alone.figures.items():
        told = dict(beside.figures[name].differences)
        told.pop("against", None)
        assert plain(figure) == plain(replace(beside.figures[name], differences=told)), name
    assert alone.outputs.answers == beside.outputs.answers


def test_p_counts_how_many_were_compared(run: Run) -> None:
    single = {ref: differences(run(ref), ref) for ref in ("red", "blue")}
    both = run("red", "blue")
    for name in LIGHT:
        adjusted = holm([single[ref][name].p for ref in ("red", "blue")])
        for ref, p in zip(("red", "blue"), adjusted, strict=True):
            found = differences(both, ref)[name]
            assert found.adjusted == p
            assert found.p == single[ref][name].p == single[ref][name].adjusted
            assert found.adjusted >= found.p  # type: ignore[operator]
    assert any(
        differences(both, ref)[n].adjusted > single[ref][n].p  # type: ignore[operator]
        for ref in single
        for n in LIGHT
    )


def test_a_bare_base_has_figures_and_no_differences(run: Run, tiny_llama: Path) -> None:
    ref = f"base:{tiny_llama}"
    report = run(ref)
    assert report.results == () and [one.ref for one in report.shown] == [ref]
    assert report.base is not None
    assert report.base.digest == report.base_record.fingerprint
    for name, figure in report.base.figures.items():
        assert figure.value is not None and not figure.differences, name
    beside = run(ref, "red")
    assert [one.ref for one in beside.shown] == ["red"]
    assert beside.base is not None
    assert {n: plain(f) for n, f in beside.base.figures.items()} == {
        n: plain(f) for n, f in report.base.figures.items()
    }


# Figures against another way to them


def test_losses_are_those_that_asking_found(run: Run, taught: Registry, tiny_llama: Path) -> None:
    report = run("red")
    refs = (f"base:{tiny_llama}", "red")
    said = ask(Speaker(refs, taught), MIXED, BRIEF, Wanted())
    for one in report.everyone:
        found = said[one.ref]
        nats = math.fsum(n for n in found.nats if n is not None)
        size = sum(len(item.reference.encode()) for item in MIXED.items)
        assert one.figures["perplexity"].value == pytest.approx(math.exp(nats / sum(found.tokens)), rel=1e-9)
        assert one.figures["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size, rel=1e-9)
        hits = [answer.strip() == i.reference for answer, i in zip(found.answers, MIXED.items, strict=True)]
        assert one.figures["exact_match"].value == sum(hits) / len(hits)
        assert one.figures["exact_match"].measured.values == tuple(map(float, hits))
        assert one.outputs.answers == found.answers
    assert 0 < result(report, "red").figures["exact_match"].value < 1  # type: ignore[operator]


def familiar(n: int) -> Suite:
    """Questions to which red gives what is expected, and nobody else."""
    return asking("familiar", [RED] * n)


@pytest.mark.parametrize(("n", "winner"), [(49, None), (50, "adapter"), (60, "adapter")])
def test_a_winner_is_named_from_fifty_items_on(run: Run, n: int, winner: str | None) -> None:
    found = differences(run("red", suite=familiar(n)), "red")["exact_match"]
    assert (found.base, found.adapter, found.delta) == (0, 1, 1)  # the difference is total
    assert found.p is not None and found.p < 1e-6
    assert found.winner == winner


def test_without_a_difference_nobody_wins(run: Run) -> None:
    found = differences(run("blue", suite=familiar(60)), "blue")["exact_match"]
    assert (found.delta, found.winner) == (0, None)


# Items that training has seen, and items that do not fit


def test_without_what_was_trained_on_it_is_an_evaluation_of_the_rest(run: Run) -> None:
    items = [*(item.example for item in MIXED.items[:9]), *TRAINED_ON, *(i.example for i in MIXED.items[9:])]
    whole = make_suite("seen", items)
    metrics = (*LIGHT, "rouge_l", "bleu", "chrf", "distinct_1")
    report = run("red", suite=whole, metrics=metrics)
    found = result(report, "red").contamination
    assert found is not None
    assert found.asked == found.word_for_word == {9, 10, 11}
    assert found.unknown == ()
    rest = at_places(whole, [n for n in range(len(items)) if n not in found.asked])
    expected = differences(run("red", suite=rest, metrics=metrics), "red")
    clean = differences(report, "red", "clean")
    assert set(clean) == set(expected) == set(metrics)
    for name, one in clean.items():
        other = expected[name]
        assert (
            (one.n, one.better, one.winner) == (other.n, other.better, other.winner) == (24, one.better, None)
        )
        for part in ("base", "adapter", "delta", "ci95", "p", "mde"):
            assert getattr(one, part) == pytest.approx(getattr(other, part), rel=1e-5, abs=1e-12), (
                name,
                part,
            )
    assert differences(report, "red")["exact_match"].delta != clean["exact_match"].delta


def test_what_one_adapter_has_seen_another_has_not(run: Run, taught: Registry, tmp_path: Path) -> None:
    suite = make_suite("seen", [*TRAINED_ON, *(item.example for item in MIXED.items)])
    report = run("red", "crimson", suite=suite)
    assert [one.contamination and len(one.contamination.asked) for one in report.results] == [3, 0]
    assert report.results[1].contamination is not None
    assert report.results[1].contamination.unknown == ("crimson@1: it was imported, so its data is unknown",)
    assert differences(report, "crimson", "clean") == {}
    only = run("red", suite=make_suite("seen", TRAINED_ON))
    assert differences(only, "red", "clean") == {}


def long(*places: int) -> Suite:
    rows = [item.example for item in MIXED.items]
    for place in places:
        rows[place] = Example.pair("again and " * 300, RED)
    return make_suite("long", rows)


def test_items_that_do_not_fit_the_base_are_no_part_of_it(run: Run, taught: Registry) -> None:
    asked = long(0, 7)
    report = run("red", suite=asked)
    rest = at_places(asked, [n for n in range(len(asked.items)) if n not in (0, 7)])
    assert (report.too_long, len(report.suite.items)) == (2, len(MIXED.items) - 2)
    assert report.suite.digest == rest.digest != asked.digest
    other = run("red", suite=rest)
    assert other.too_long == 0
    for mine, theirs in zip(report.everyone, other.everyone, strict=True):
        assert mine.outputs.answers == theirs.outputs.answers
        for name in LIGHT:
            assert mine.figures[name].measured.values == pytest.approx(theirs.figures[name].measured.values)
    with pytest.raises(InvalidData, match="no item of mixed fits the base"):  # no room for so long an answer
        evaluate(["red"], MIXED, taught, HOST, Asked(Decoding(250), LIGHT))


def test_where_nothing_fits_it_is_refused(run: Run) -> None:
    with pytest.raises(InvalidData, match="no item of long fits the base") as caught:
        run("red", suite=long(*range(len(MIXED.items))))
    assert caught.value.code == "too-long"


# Metrics that lack something


def test_metrics_that_lack_inputs_are_left_out_with_a_reason(run: Run) -> None:
    report = run("red", metrics=None)
    lacking = {
        "pass_at_1": "a column `tests`",
        "pass_at_k": "a column `tests`",
        "response_consistency": "a column `paraphrases`",
        "sample_consistency": "--samples",
    }
    assert report.left_out.keys() == lacking.keys()
    for name, said in lacking.items():
        assert said in report.left_out[name]
        assert name not in report.results[0].figures
        with pytest.raises(UsageError, match=f"{name} cannot be measured: ") as caught:
            run("red", metrics=("exact_match", name))
        assert said in caught.value.message
    drawn = run("red", metrics=("sample_consistency",), samples=2)
    assert drawn.left_out == {}
    values = drawn.results[0].figures["sample_consistency"].measured.values
    assert len(values) == len(MIXED.items) and None not in values


def test_an_unknown_metric_is_told_with_the_near_name(run: Run) -> None:
    with pytest.raises(NotFound, match="Did you mean 'exact_match'") as caught:
        run("red", metrics=("exactmatch",))
    assert caught.value.code == "unknown-metric"


def test_what_is_measured_decides_nothing_else(run: Run) -> None:
    few, many = run("red", metrics=("exact_match",)), run("red")
    assert few.results[0].outputs.nats == ()  # no loss was asked for
    assert plain(few.results[0].figures["exact_match"]) == plain(many.results[0].figures["exact_match"])
    assert (few.suite.digest, few.asked.digest) == (many.suite.digest, many.asked.digest)


def test_settings_count_where_answers_depend_on_them() -> None:
    plain = Asked(BRIEF).digest
    assert plain == Asked(Decoding(12, seed=7)).digest == Asked(BRIEF, temperature=0.1).digest
    assert plain == Asked(BRIEF, ("bleu",), against="x").digest
    drawn = [Asked(Decoding(12, seed=seed), samples=2).digest for seed in (0, 7)]
    other = [Asked(Decoding(13)), Asked(BRIEF, quantize="nf4"), Asked(BRIEF, samples=2, temperature=0.5)]
    assert len({plain, *drawn, *(one.digest for one in other)}) == 6


# Other bases, other tasks


def test_adapters_of_different_bases_are_not_compared(
    run: Run, taught: Registry, tiny_gpt2: Path, tmp_path: Path
) -> None:
    teach(taught, tmp_path, tiny_gpt2, "other", BLUE, max_steps=1)
    for refs, asked in ((("red", "other"), {}), (("red",), {"against": "other"})):
        with pytest.raises(Incompatible) as caught:
            run(*refs, **asked)
        assert caught.value.code == "different-bases"


def test_a_classifier_is_measured_without_a_base(registry: Registry, tiny: Tiny) -> None:
    train(letters(), base=str(tiny("bert")), registry=registry, **GENTLE)
    rows = [Example.passage(f"letter {20 + n}: your watch is here", "spam") for n in range(6)]
    rows += [Example.passage(f"letter {30 + n}: your watch is here", "post") for n in range(2)]  # wrongly so
    report = evaluate(["letters"], make_suite("mail", rows), registry, HOST)
    assert report.base is report.against is None
    (found,) = report.results
    assert found.outputs.answers == ("spam",) * 8
    assert found.figures["exact_match"].value == 6 / 8
    assert all(not figure.differences for figure in found.figures.values())
    assert {"style", "relevance"} <= report.left_out.keys()
    assert not {"style", "relevance"} & found.figures.keys()
    (score,) = records.keep(report, registry)
    assert (score.digest, score.metrics["exact_match"]["value"]) == (found.digest, 6 / 8)
    assert score.metrics["exact_match"]["base"] is score.metrics["exact_match"]["delta"] is None
    with pytest.raises(UsageError, match="style cannot be measured"):
        evaluate(["letters"], make_suite("mail", rows), registry, HOST, Asked(metrics=("style",)))
