"""Sweeps by the Python call: halving, the confirmation, and what the winner tells of its study."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lftreg
from lftreg.data import read_data
from lftreg.errors import InvalidData, LftregError, Unavailable, UsageError
from lftreg.plugins.types import Domain, Example, Message
from lftreg.registry import Registry, documents
from lftreg.sweeping import events
from lftreg.sweeping.bench import Bench, Seat
from lftreg.sweeping.study import Study
from lftreg.training import Runs
from lftreg.training.learner import Learner

pytestmark = pytest.mark.slow

SPACE = {"lr": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2], "rank": [2, 4]}


def test_halving_keeps_the_best_and_the_winner_tells_of_its_study(
    domain: Domain, asked: dict[str, Any], registry: Registry
) -> None:
    heard: list[events.Event] = []
    swept = lftreg.sweep(
        domain, space=SPACE, trials=8, at_once=4, registry=registry, listen=heard.append, **asked
    )
    rows = swept.rows
    assert [row.number for row in rows] == list(range(8))
    assert {row.end for row in rows} == {"finished", "stopped"}
    assert all(row.percent < 100 for row in rows if row.end == "stopped")
    halved = [event for event in heard if isinstance(event, events.Halved)]
    assert halved and all(
        event.kept < event.came or event.came <= 3 for event in halved if event.percent == 25
    )
    best = min(rows, key=lambda row: row.loss or 99.0)
    assert best.end == "finished"

    confirmed = swept.winner["confirmed"]
    by_number = {row.number: row for row in rows}
    assert 1 <= len(confirmed) <= 3
    for one in confirmed:  # alone they come to what they came to side by side
        assert one["validation"] == pytest.approx(by_number[one["trial"]].loss, rel=1e-6)
    assert confirmed[0]["test"] == min(one["test"] for one in confirmed)

    version = swept.version
    assert version is not None and version.run is not None
    assert [one.ref for one in registry.list(all_versions=True)] == [version.ref]
    assert [run.status for run in Runs(registry.home).list()] == ["done"]  # no trial has a run
    told = version.run.settings["sweep"]
    assert told["study"] == swept.study and told["trials"] == 8 and told["trial"] == confirmed[0]["trial"]
    assert version.run.settings["lr"] == confirmed[0]["settings"]["lr"]
    assert version.run.losses["validation_after"] == confirmed[0]["validation"]
    table = json.loads(registry.read(version, "sweep.json"))
    assert [row["number"] for row in table["table"]] == list(range(8)) and table["space"] == SPACE
    assert registry.read(version, "sweep.png").startswith(b"\x89PNG")
    lineage = documents.lineage(registry.lineage(version.ref))
    assert lineage["sweep"]["study"] == swept.study and lineage["sweep"]["trials"] == 8


def test_the_winner_is_what_the_usual_command_makes(
    domain: Domain, asked: dict[str, Any], registry: Registry
) -> None:
    swept = lftreg.sweep(domain, space={"lr": [1e-3, 1e-2]}, trials=2, registry=registry, **asked)
    again = lftreg.train(
        domain, name="again", registry=registry, lr=swept.winner["confirmed"][0]["settings"]["lr"], **asked
    )
    assert swept.version is not None and again.digest == swept.version.digest


def test_no_step_is_taken_twice_where_company_changes_nothing(
    domain: Domain, asked: dict[str, Any], registry: Registry
) -> None:
    """Finalists that learned beside others, to the byte as alone, are judged and not trained once more."""
    heard: list[events.Event] = []
    swept = lftreg.sweep(domain, space=SPACE, trials=4, registry=registry, listen=heard.append, **asked)
    begun = next(at for at, event in enumerate(heard) if isinstance(event, events.Confirming))
    taken = sum(round(row.percent / 100 * asked["max_steps"]) for row in swept.rows)
    assert sum(isinstance(event, events.Stepped) for event in heard[:begun]) == taken
    assert not any(isinstance(event, events.Stepped) for event in heard[begun:])
    assert len(swept.winner["confirmed"]) == 3


def test_a_trial_that_is_judged_beside_its_run_is_the_run_that_train_makes(
    domain: Domain, asked: dict[str, Any], registry: Registry
) -> None:
    """At steps 11 and 22 of 44, a step of two passes; the run itself validates after 10, 20, 30, 40 and 44."""
    asked = asked | {"max_steps": 44, "dropout": 0.1, "accumulate": 2}
    heard: list[events.Event] = []
    space = {"lr": [1e-4, 1e-3, 3e-3, 1e-2]}
    swept = lftreg.sweep(domain, space=space, trials=4, registry=registry, listen=heard.append, **asked)
    assert [event.percent for event in heard if isinstance(event, events.Halved)] == [25, 50]
    lr = swept.winner["confirmed"][0]["settings"]["lr"]
    again = lftreg.train(domain, name="again", registry=registry, lr=lr, **asked)
    assert swept.version is not None and swept.version.run is not None and again.run is not None
    assert again.digest == swept.version.digest
    assert again.run.losses == swept.version.run.losses


def test_trials_are_compared_on_some_of_the_rows(
    asked: dict[str, Any], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some sixty validation rows; what a run that goes to its end comes to is found on all of them."""
    place = tmp_path / "many.jsonl"
    told = [{"prompt": f"What is number {i}?", "response": f"It is {i % 5}."} for i in range(600)]
    place.write_text("\n".join(map(json.dumps, told)))
    judged: list[tuple[int, float]] = []
    compared: list[float] = []
    evaluate, report = Learner.evaluate, Study.report

    def seen(self: Learner, rows: Any, *rest: Any) -> Any:
        found = yield from evaluate(self, rows, *rest)
        judged.append((len(rows), found.loss))
        return found

    def reported(self: Study, number: int, percent: int, loss: float) -> None:
        compared.append(loss)
        report(self, number, percent, loss)

    monkeypatch.setattr(Learner, "evaluate", seen)
    monkeypatch.setattr(Study, "report", reported)
    swept = lftreg.sweep(
        read_data([str(place)], "many").domain, space={"lr": [1e-4, 1e-3, 3e-3, 1e-2]}, trials=4,
        registry=registry, **asked,
    )  # fmt: skip
    on_some = [loss for rows, loss in judged if rows == 32]
    assert len(on_some) == len(compared) >= 6 and set(compared) <= set(on_some)
    on_all = [loss for rows, loss in judged if rows > 32]
    finished = [row for row in swept.rows if row.end == "finished"]
    assert finished and all(row.loss in on_all and row.loss not in on_some for row in finished)


def test_the_time_of_a_kept_trial_is_its_share(
    domain: Domain, asked: dict[str, Any], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four that train side by side do not each take the time of all."""
    whole: list[float] = []
    keep = Bench.keep

    def kept(self: Bench, number: int, seat: Seat) -> None:
        assert seat.fitted is not None
        whole.append(seat.fitted.seconds)  # by the clock of its loop
        keep(self, number, seat)

    monkeypatch.setattr(Bench, "keep", kept)
    options = {"space": {"lr": [1e-3, 3e-3, 1e-2], "rank": [2, 4]}, "registry": registry, **asked}
    swept = lftreg.sweep(domain, trials=4, **options)
    assert swept.version is not None and swept.version.run is not None
    assert len(whole) == 3 and 0 < swept.version.run.seconds < min(whole) / 2


def test_the_base_is_judged_once(
    domain: Domain, asked: dict[str, Any], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials begin with adapters that change nothing: what validation finds then is the same for all."""
    judged: list[int] = []
    evaluate = Learner.evaluate

    def counted(self: Learner, rows: Any, *rest: Any) -> Any:
        judged.append(len(rows))
        return evaluate(self, rows, *rest)

    monkeypatch.setattr(Learner, "evaluate", counted)
    lftreg.sweep(domain, space=SPACE, trials=4, at_once=2, registry=registry, **{**asked, "max_steps": 10})
    # Of the base, of each trial at its end, and of the finalists on the test split.
    assert len(judged) == 1 + 4 + 3


def test_no_trial_sees_the_test_split(domain: Domain, asked: dict[str, Any], registry: Registry) -> None:
    """Another test split changes no trial; only what the confirmation finds."""

    def others(split: Any, seed: int) -> Any:
        if split != "test":
            return domain.build(split, seed)
        said = [(Message("user", f"Name {n}"), Message("assistant", "Something else.")) for n in range(4)]
        return [Example(turns) for turns in said]

    options = {"space": {"lr": [1e-3, 3e-3, 1e-2]}, "trials": 4, "registry": registry, **asked}
    one = lftreg.sweep(domain, **options)
    other = lftreg.sweep(replace(domain, build=others), name="others", **options)
    assert [row.loss for row in one.rows] == [row.loss for row in other.rows]
    assert one.winner["confirmed"][0]["test"] != other.winner["confirmed"][0]["test"]


def test_a_study_that_is_done_is_told_again_and_more_trials_go_on(
    domain: Domain, asked: dict[str, Any], registry: Registry
) -> None:
    options = {"space": {"lr": [1e-3, 3e-3, 1e-2]}, "registry": registry, **asked}
    first = lftreg.sweep(domain, trials=2, **options)
    heard: list[events.Event] = []
    assert lftreg.sweep(domain, trials=2, listen=heard.append, **options).version == first.version
    assert not any(isinstance(event, events.Stepped) for event in heard)
    more = lftreg.sweep(domain, trials=3, **options)
    assert more.rows[:2] == first.rows and len(more.rows) == 3
    assert more.version is not None and more.version.run is not None
    assert more.version.run.settings["sweep"]["trials"] == 3


def test_the_budget_ends_the_sampling(domain: Domain, asked: dict[str, Any], registry: Registry) -> None:
    options = {"space": {"lr": [1e-3, 1e-2]}, "registry": registry, "study": "short", **asked}
    heard: list[events.Event] = []
    with pytest.raises(LftregError) as caught:
        lftreg.sweep(domain, trials=30, budget=1e-9, listen=heard.append, **options)
    assert caught.value.code == "no-finalist"
    assert any(isinstance(event, events.OutOfTime) for event in heard)


def test_a_trial_that_cannot_be_ends_no_other(
    domain: Domain, asked: dict[str, Any], registry: Registry
) -> None:
    swept = lftreg.sweep(
        domain, space={"targets": ["attention", "no_such_module"]}, trials=4, registry=registry, **asked
    )
    failed = [row for row in swept.rows if row.end == "failed"]
    assert failed and all("no_such_module" in (row.why or "") for row in failed)
    assert swept.version is not None


def test_what_cannot_be_swept_is_refused(
    domain: Domain, asked: dict[str, Any], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"registry": registry, **asked}
    with pytest.raises(UsageError, match="--trials 0"):
        lftreg.sweep(domain, trials=0, **options)
    with pytest.raises(UsageError, match="--storage cannot be used"):
        lftreg.sweep(domain, storage="no url", **options)
    empty = replace(domain, build=lambda split, seed: [] if split == "test" else domain.build(split, seed))
    with pytest.raises(InvalidData, match="no test rows"):
        lftreg.sweep(empty, **options)
    space = {"lr": [1e-3, 1e-2]}
    lftreg.sweep(domain, space=space, trials=1, study="mine", **options)
    with pytest.raises(InvalidData, match="begun with another search space"):
        lftreg.sweep(domain, space={"lr": [1e-3, 2e-2]}, trials=1, study="mine", **options)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Unavailable) as caught:
        lftreg.sweep(domain, **options)
    assert caught.value.hint == "pip install 'lftreg[sweep]'"


def test_a_database_holds_the_study_of_several_machines(
    domain: Domain, asked: dict[str, Any], registry: Registry, postgres: Any
) -> None:
    options = {"space": {"lr": [1e-3, 1e-2]}, "storage": postgres.url(postgres.new()), **asked}
    first = lftreg.sweep(domain, trials=1, registry=registry, **options)
    swept = lftreg.sweep(domain, trials=2, registry=registry, **options)
    assert swept.rows[:1] == first.rows and len(swept.rows) == 2
    assert not registry.home.studies.exists()


def test_a_base_that_cannot_be_shared_is_swept_one_by_one(
    tiny: Any, registry: Registry, domain: Domain
) -> None:
    """T5 answers beside no other: each trial has its base to itself, is halved away all the same, and is not trained
    once more for the confirmation."""
    heard: list[events.Event] = []
    asked = {"base": str(tiny("t5")), "max_steps": 20, "batch_size": 4, "registry": registry}
    space = {"lr": [1e-6, 1e-5, 1e-4, 1e-2]}
    swept = lftreg.sweep(domain, space=space, trials=5, listen=heard.append, **asked)
    assert swept.version is not None and {row.end for row in swept.rows} == {"finished", "stopped"}
    begun = next(at for at, event in enumerate(heard) if isinstance(event, events.Confirming))
    assert not any(isinstance(event, events.Stepped) for event in heard[begun:])
    again = lftreg.train(domain, name="again", lr=swept.winner["confirmed"][0]["settings"]["lr"], **asked)
    assert again.digest == swept.version.digest
