"""What is kept of an evaluation, and what scripts are told of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import LftregError
from lftreg.evaluation import records
from lftreg.evaluation.evaluate import Asked, Report, evaluate
from lftreg.evaluation.suite import make_suite
from lftreg.models.answers import Decoding
from lftreg.paths import Home
from lftreg.plugins.host import Host
from lftreg.plugins.types import Example
from lftreg.registry import Registry, Score
from lftreg.registry.staging import Stage
from tests.evaluation.parrots import BLUE, RED, asking

pytestmark = pytest.mark.slow

HOST = Host(external=False)
ROWS = [item.example for item in asking("", [RED, BLUE, RED] * 4).items]
SEEN = Example.pair("What is thing 0?", RED)  # red was trained on it
LONG = Example.pair("again and " * 300, RED)
SUITE = make_suite("desk", [*ROWS[:2], SEEN, LONG, *ROWS[2:]])
METRICS = ("perplexity", "exact_match", "chrf", "style", "distinct_1")


@pytest.fixture(scope="module")
def report(parrots: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    asked = Asked(Decoding(12), METRICS, against="blue")
    home = shutil.copytree(parrots, tmp_path_factory.mktemp("report") / "home")
    return evaluate(["red", "crimson"], SUITE, Registry(Home(home)), HOST, asked)


def by_digest(registry: Registry) -> dict[str, Score]:
    return {score.digest: score for score in registry.scores.find()}


def test_everyone_who_was_asked_is_kept_once(report: Report, taught: Registry) -> None:
    kept = records.keep(report, taught)
    found = taught.scores.find()
    assert found == kept[::-1]
    red, blue = taught.get("red"), taught.get("blue")
    assert {score.digest for score in found} == {red.digest, blue.digest, red.base.fingerprint}
    assert [score.of_base for score in found].count(True) == 1
    for score in found:
        assert (score.suite, score.suite_digest, score.n) == ("desk", report.suite.digest, 13)
        assert (score.decoding, score.decoding_digest) == (report.asked.settings, report.asked.digest)
        assert score.base == red.base
        assert {"torch", "transformers", "scipy"} <= score.libraries.keys()
    assert taught.scores.find(digest=red.digest) == [by_digest(taught)[red.digest]]
    assert taught.scores.find(suite_digest="0" * 64) == []


def test_each_item_is_kept_with_what_was_said_and_what_it_got(report: Report, taught: Registry) -> None:
    records.keep(report, taught)
    asked = [*ROWS[:2], SEEN, *ROWS[2:]]
    for one in report.everyone:
        score = by_digest(taught)[one.digest]
        items = taught.scores.items(score)
        assert [(row["prompt"], row["reference"]) for row in items] == [(e.prompt, e.response) for e in asked]
        assert tuple(row["answer"] for row in items) == one.outputs.answers
        for name, figure in one.figures.items():
            assert tuple(row["scores"][name] for row in items) == figure.measured.values
        # The kept values make the kept figure.
        hits = [float(row["answer"] == row["reference"]) for row in items]
        assert [row["scores"]["exact_match"] for row in items] == hits
        assert score.metrics["exact_match"]["value"] == sum(hits) / 13
    red = taught.scores.items(by_digest(taught)[taught.get("red").digest])
    assert sum(row["scores"]["exact_match"] for row in red) == 9


def test_contamination_and_length_are_kept_beside_the_figures(parrots: Path, taught: Registry) -> None:
    report = evaluate(["red"], SUITE, taught, HOST, Asked(Decoding(12), ("exact_match",)))
    records.keep(report, taught)
    scores = by_digest(taught)
    red = scores[taught.get("red").digest]
    assert red.facts == {
        "contaminated": [2], "answers_trained_on": 9, "unknown_data": [], "too_long": 1, "trained_left_out": 0,
    }  # fmt: skip
    assert [row["contaminated"] for row in taught.scores.items(red)] == [n == 2 for n in range(13)]
    base = scores[red.base.fingerprint]
    assert base.facts["contaminated"] is base.facts["answers_trained_on"] is None


def test_scripts_are_told_what_is_kept(report: Report, taught: Registry) -> None:
    """The own value is `adapter` there; nothing else is told otherwise."""
    records.keep(report, taught)
    told = json.loads(json.dumps(records.document(report)))
    assert [one["ref"] for one in told] == ["red", "crimson"]
    red = told[0]
    assert (red["base"], red["n"], red["against"]) == (report.base_record.id, 13, "blue")
    assert (red["suite_digest"], red["too_long"]) == (report.suite.digest, 1)
    assert red["left_out"] == {}
    score = by_digest(taught)[taught.get("red").digest]
    assert red["decoding"] == score.decoding
    for name in METRICS:
        mine, theirs = dict(red["metrics"][name]), dict(score.metrics[name])
        assert mine.pop("adapter") == theirs.pop("value")
        assert mine == theirs, name


def test_a_summary_holds_the_difference_to_everyone(report: Report) -> None:
    red, crimson = records.document(report)
    assert report.base is not None and report.against is not None
    for name in ("perplexity", "exact_match", "chrf", "distinct_1"):
        told = red["metrics"][name]
        assert told["base"] == pytest.approx(report.base.figures[name].value)
        assert told["delta"] == pytest.approx(told["adapter"] - told["base"])
        low, high = told["ci95"]
        assert low <= told["delta"] <= high
        assert 0 <= told["p"] <= 1 and told["n"] == 13 and told["winner"] is None
        against = told["against"]
        assert against["other"] == pytest.approx(report.against.figures[name].value)
        assert against["value"] == pytest.approx(told["adapter"])
        assert against["delta"] == pytest.approx(against["value"] - against["other"])
        clean = told["clean"]
        assert clean["n"] == 12
    assert red["metrics"]["exact_match"]["clean"]["value"] == 8 / 12
    assert crimson["contaminated"] == [] and crimson["metrics"]["exact_match"]["clean"] is None
    assert (red["metrics"]["perplexity"]["better"], red["metrics"]["perplexity"]["unit"]) == (
        "lower",
        "number",
    )
    assert red["metrics"]["distinct_1"]["better"] is None
    assert red["metrics"]["chrf"]["signature"]


def test_what_cannot_be_trusted_has_no_difference_but_a_reason(report: Report) -> None:
    style: Mapping[str, Any] = records.document(report)[0]["metrics"]["style"]
    assert style["measurable"] is False and style["note"]
    assert style["adapter"] is style["base"] is style["delta"] is style["ci95"] is style["winner"] is None


def test_what_was_evaluated_twice_is_kept_twice(report: Report, taught: Registry) -> None:
    first, second = records.keep(report, taught), records.keep(report, taught)
    found = taught.scores.find(digest=taught.get("red").digest)
    assert len(found) == 2 and found[0].at >= found[1].at
    assert [one.items for one in first] == [one.items for one in second]  # equal content is one blob


def test_all_are_kept_or_none(report: Report, taught: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk that fills at the second of three."""
    whole, count = Stage.put_bytes, iter(range(3))

    def put(stage: Stage, content: bytes) -> Any:
        if next(count) == 1:
            raise LftregError("full")
        return whole(stage, content)

    monkeypatch.setattr(Stage, "put_bytes", put)
    with pytest.raises(LftregError, match="full"):
        records.keep(report, taught)
    assert taught.scores.find() == []
