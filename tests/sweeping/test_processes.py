"""Sweeps in processes of their own: killed, stopped, and several at one study."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import optuna
import pytest

from .conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = "lr = [1e-5, 1e-4, 1e-3, 1e-2]\nrank = [2, 4]\n"


@pytest.fixture
def space(tmp_path: Path) -> str:
    place = tmp_path / "space.toml"
    place.write_text(SPACE)
    return str(place)


def until(process: subprocess.Popen[str], word: str) -> None:
    """Read what a sweep says until a word comes."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"it ended without saying {word!r}")


def trials(home: Path) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{home / 'studies.db'}"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def test_a_killed_sweep_goes_on_by_the_same_command(start: Start, home: Path, space: str) -> None:
    command = ("--space", space, "--trials", "4", "--at-once", "2", "--max-steps", "600")
    killed = start(*command)
    until(killed, "trials are there")
    until(killed, "go on")  # at the first rung
    killed.kill()
    killed.communicate()
    left = trials(home)
    assert [one.state.name for one in left].count("RUNNING") == 2

    again = start(*command, "--json")
    said, _ = again.communicate()
    assert again.returncode == 0
    assert [row["end"] != "running" for row in json.loads(said)["trials"]] == [True] * 4
    now = trials(home)
    assert [one.state.name for one in now[:2]] == ["FAIL", "FAIL"]
    assert [one.params for one in left[:2]] == [one.params for one in now if one.number in (2, 3)]


def test_ctrl_c_keeps_what_has_ended(start: Start, home: Path, space: str) -> None:
    command = ("--space", space, "--trials", "3", "--at-once", "1", "--max-steps", "300")
    stopped = start(*command)
    until(stopped, "trial 0")
    until(stopped, "go on")
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate()
    assert stopped.returncode == 130 and "the same command goes on" in said
    states = [one.state.name for one in trials(home)]
    assert states[0] in ("COMPLETE", "PRUNED") and "RUNNING" not in states
    again = start(*command, "-q")
    said, _ = again.communicate()
    assert again.returncode == 0 and said == "rows@1\n"


def test_two_processes_join_one_study(start: Start, home: Path, space: str) -> None:
    command = (
        "--space",
        space,
        "--trials",
        "6",
        "--at-once",
        "1",
        "--max-steps",
        "60",
        "--study",
        "both",
        "-q",
    )
    both = [start(*command), start(*command)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out for out, _ in said] == ["rows@1\n", "rows@1\n"]
    done = [one for one in trials(home) if one.state.name in ("COMPLETE", "PRUNED")]
    assert len(done) == 6
    assert len({one.user_attrs["worker"]["pid"] for one in done}) == 2


def test_the_command_on_the_starter(start: Start, home: Path) -> None:
    """The default space on the embedded base."""
    process = start("--trials", "2", "--max-steps", "10", "--json", base="starter")
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    told = json.loads(said)
    assert told["ref"] == "rows@1" and told["base"]["id"] == "starter" and len(told["trials"]) == 2
    assert set(told["space"]) == {"lr", "rank"} and told["trials"][0]["settings"] == {"lr": 0.003, "rank": 16}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--budget", "soon"), "--budget soon is no time"),
        (("--at-once", "0"), "--at-once 0"),
        (("--lr", "1e-3", "--rank", "4"), "nothing is left to search"),
    ],
)
def test_what_is_typed_wrong(start: Start, words: tuple[str, ...], says: str) -> None:
    process = start(*words)
    _, errors = process.communicate()
    assert process.returncode == 2 and says in errors
