"""A run that was stopped, in whatever way, ends as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lftreg.data import read_data
from lftreg.errors import Interrupted, InvalidData, LftregError, NotFound, UsageError
from lftreg.paths import Home
from lftreg.plugins.types import Domain, Example
from lftreg.registry import Registry, Version
from lftreg.training import Runs, Stepped, Validated, make_plan, run_plan, train
from lftreg.training.checkpoint import BEFORE, NEWEST
from lftreg.training.events import Event, Resumed
from lftreg.training.runs import HOLDER, Request
from tests import forks

pytestmark = pytest.mark.slow

KILLS = os.environ.get("LFTREG_KILLS", "5")  # `make soak` kills fifty times

OPTIONS: dict[str, Any] = {
    "rank": 4, "lr": 1e-2, "batch_size": 4, "max_steps": 24, "patience": 9, "prompt_dropout": 0.2, "neftune": 3.0,
    "dropout": 0.1,
}  # fmt: skip


def lessons(changed: str = "") -> Domain:
    def build(split: str, seed: int) -> list[Example]:
        count = {"train": 20, "validation": 4, "test": 0}[split]
        return [Example.pair(f"What is {split} {n}?", f"It is {n}{changed}.") for n in range(count)]

    return Domain("lessons", "numbers", build)


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """What a run that is left alone makes."""
    version: Version = go(Registry(Home(tmp_path_factory.mktemp("whole"))), tiny_llama)
    return version


class Pulled(BaseException):
    """The plug is pulled: no handler of ours knows it."""


def go(registry: Registry, base: Path, listen: Any = lambda event: None, *, resume: bool = False) -> Any:
    plan = make_plan(lessons(), name=None, base=str(base), registry=registry, **OPTIONS)
    run = Runs(registry.home).to_resume("lessons") if resume else None
    return run_plan(plan, registry, listen, run, save_every=3)


@pytest.fixture(autouse=True)
def hears_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who was started in the background inherits that Ctrl-C is ignored, and lftreg leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pulls(step: int) -> Any:
    def listen(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            raise Pulled

    return listen


def test_what_goes_on_equals_what_was_never_interrupted(
    registry: Registry, tiny_llama: Path, whole: Version
) -> None:
    """Dropout, noise, word dropout, moments, schedule, the best factors: all of it is in the checkpoint."""
    for step in (2, 10, 13, 24):
        with pytest.raises(Pulled):
            go(registry, tiny_llama, pulls(step))
        heard: list[Event] = []
        again = go(registry, tiny_llama, heard.append, resume=True)
        assert again.digest == whole.digest
        assert whole.run is not None
        assert (again.run.losses, again.run.tokens) == (whole.run.losses, whole.run.tokens)
        resumed = [event.step for event in heard if isinstance(event, Resumed)]
        assert resumed == ([(step - 1) // 3 * 3] if step > 3 else [])


def test_a_stop_saves_and_goes_on_from_the_very_step(
    registry: Registry, tiny_llama: Path, whole: Version
) -> None:

    def interrupts(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped after step 5 of 24; everything is saved") as caught:
        go(registry, tiny_llama, interrupts)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    (run,) = [run for run in Runs(registry.home).list() if run.status == "interrupted"]
    assert run.step == 5
    assert go(registry, tiny_llama, resume=True).digest == whole.digest
    assert {run.status for run in Runs(registry.home).list()} == {"done"}


def test_a_stop_in_the_middle_of_a_validation(registry: Registry, tiny_llama: Path, whole: Version) -> None:

    def interrupts(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 10:  # a validation is next
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="step 10") as caught:
        go(registry, tiny_llama, interrupts)
    assert caught.value.exit_code == 130
    heard: list[Event] = []
    assert go(registry, tiny_llama, heard.append, resume=True).digest == whole.digest
    assert [e.step for e in heard if isinstance(e, Validated)] == [0, 10, 20, 24]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    registry: Registry, tiny_llama: Path, whole: Version
) -> None:
    with pytest.raises(Pulled):
        go(registry, tiny_llama, pulls(11))
    run = Runs(registry.home).to_resume()
    content = bytearray((run.path / NEWEST).read_bytes())
    content[-5] ^= 1
    (run.path / NEWEST).write_bytes(content)
    heard: list[Event] = []
    assert go(registry, tiny_llama, heard.append, resume=True).digest == whole.digest
    assert [e for e in heard if isinstance(e, Resumed)] == [Resumed(6, fallback=True)]


def test_two_damaged_checkpoints_are_told(registry: Registry, tiny_llama: Path) -> None:
    with pytest.raises(Pulled):
        go(registry, tiny_llama, pulls(11))
    run = Runs(registry.home).to_resume()
    for name in (NEWEST, BEFORE):
        (run.path / name).write_bytes(b"rust")
    with pytest.raises(InvalidData, match="damaged"):
        go(registry, tiny_llama, resume=True)
    assert run.status == "failed"


def test_other_data_another_base_or_other_settings_do_not_go_on(
    registry: Registry, tiny_llama: Path, tiny_gpt2: Path
) -> None:
    with pytest.raises(Pulled):
        go(registry, tiny_llama, pulls(5))
    run = Runs(registry.home).to_resume()
    for other, code in (
        ({"domain": lessons("!")}, "data-changed"),
        ({"base": str(tiny_gpt2)}, "base-changed"),
        ({"rank": 8}, "other-settings"),
    ):
        given: dict[str, Any] = {"domain": lessons(), "base": str(tiny_llama), **OPTIONS, **other}
        plan = make_plan(given.pop("domain"), name=None, registry=registry, **given)
        with pytest.raises(InvalidData) as caught:
            run_plan(plan, registry, run=run)
        assert caught.value.code == code
    assert run.status == "interrupted"
    assert not registry.list()


def test_a_run_that_published_and_was_killed_then_is_not_made_twice(
    registry: Registry, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lftreg.training.runs import RunFolder

    def killed(self: RunFolder, outcome: Any) -> None:
        raise Pulled

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "close", killed)
        with pytest.raises(Pulled):
            go(registry, tiny_llama)
    assert Runs(registry.home).list()[0].status == "interrupted"
    assert go(registry, tiny_llama, resume=True).ref == "lessons@1"
    assert len(registry.list(all_versions=True)) == 1
    assert Runs(registry.home).list()[0].status == "done"


def test_nothing_to_resume(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no run of 'lessons' was interrupted"):
        train(lessons(), registry=registry, resume=True)


def test_a_run_is_one_process_s(registry: Registry, tiny_llama: Path) -> None:
    """While it trains, nobody else can take it up, and it is told as running."""
    seen: list[str] = []

    def looks(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            (run,) = Runs(registry.home).list()
            seen.append(run.status)
            with pytest.raises(UsageError, match="running in another process"):
                Runs(registry.home).to_resume("lessons")

    go(registry, tiny_llama, looks)
    assert seen == ["running"]


def test_a_run_that_failed_says_how(registry: Registry, tiny_llama: Path) -> None:
    with pytest.raises(LftregError, match="never fell"):
        train(lessons(), base=str(tiny_llama), registry=registry, **{**OPTIONS, "lr": 1e-30, "max_steps": 3})
    (run,) = Runs(registry.home).list()
    assert run.status == "failed"
    assert run.outcome is not None
    assert run.outcome["error"]["code"] == "no-improvement"


def test_sigkill_at_random_moments(tiny_llama: Path, home: Path) -> None:
    """Killed in the middle of steps, validations and saves, each run ends with the bytes of one left alone."""
    from tests.training import killing

    told = forks.finish(partial(killing.main, tiny_llama, int(KILLS), 0), os.environ)
    assert told.returncode == 0, told.stderr[-2000:]
    found = json.loads(told.stdout)
    assert found["kills"] >= int(KILLS)
    assert found["equal"] == found["runs"]
    assert found["in_saves"] > 0


def test_a_run_that_judged_itself_is_not_taken_up_again(registry: Registry, tiny_llama: Path) -> None:
    with pytest.raises(LftregError, match="never fell"):
        plan = make_plan(
            lessons(), name=None, base=str(tiny_llama), registry=registry,
            **{**OPTIONS, "lr": 1e-30, "max_steps": 6},
        )  # fmt: skip
        run_plan(plan, registry, save_every=2)
    (run,) = Runs(registry.home).list()
    assert (run.status, run.resumable) == ("failed", False)
    assert not list(run.path.glob("*checkpoint*"))
    with pytest.raises(NotFound):
        Runs(registry.home).to_resume()


def test_whoever_looks_does_not_stand_in_the_way(registry: Registry, tiny_llama: Path) -> None:
    with pytest.raises(Pulled):
        go(registry, tiny_llama, pulls(5))
    run = Runs(registry.home).to_resume()
    look = f"""
from lftreg.paths import Home; from lftreg.training import Runs; from pathlib import Path
import time
until = time.time() + 4
print("looking", flush=True)
while time.time() < until: [run.status for run in Runs(Home(Path({str(registry.home.root)!r}))).list()]
"""
    with subprocess.Popen([sys.executable, "-c", look], stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        for _ in range(200):
            with run.held():
                pass
        watcher.kill()


def test_those_who_take_up_a_run_together_all_find_it(registry: Registry) -> None:
    """The processes of one run look at its lock at the same moment, and none may take another for its holder."""
    run = Runs(registry.home).begin(Request("two", "starter", "f" * 64, "d" * 64, {}, {}, 1))
    with run.held():
        (run.path / NEWEST).touch()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (run.path / HOLDER).write_text(json.dumps({"pid": ended.pid, "host": run.request.host}))
    looks = [partial(Runs(registry.home).to_resume, "two")] * 400
    with ThreadPoolExecutor(8) as pool:
        assert {found.id for found in pool.map(lambda look: look(), looks)} == {run.id}


def test_what_went_on_from_a_version_goes_on_from_it_again(registry: Registry, tiny_llama: Path) -> None:
    """By Python, where nobody types the reference a second time."""
    go(registry, tiny_llama)
    given: dict[str, Any] = {"base": str(tiny_llama), "registry": registry, "name": "more"}
    more = {**OPTIONS, "rank": None, "continue_from": "lessons@1"}
    with pytest.raises(Pulled):
        train(lessons("!"), listen=pulls(4), **given, **more)
    heard: list[Event] = []
    version = train(lessons("!"), listen=heard.append, resume=True, **given)
    assert version.run is not None
    assert version.run.parent is not None
    assert version.run.parent.ref == "lessons@1"
    with pytest.raises(NotFound):
        train(lessons("!"), resume=True, **given)


def test_resume_with_dry_run_trains_nothing(
    registry: Registry, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lftreg.cli.main import _run

    data = tmp_path / "rows.jsonl"
    data.write_text(
        "\n".join(json.dumps({"prompt": f"What is {n}?", "response": f"{n}."}) for n in range(20))
    )
    plan = make_plan(
        read_data([str(data)]).domain, name="rows", base=str(tiny_llama), registry=registry,
        source={"data": [str(data)], "map": []}, **OPTIONS,
    )  # fmt: skip
    with pytest.raises(Pulled):
        run_plan(plan, registry, pulls(5), save_every=2)
    assert _run(["train", "--resume", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "rows"
    assert not registry.list()
    for words, says in (
        (["--rank", "9"], "--rank 9 is not 4"),
        (["--replay", "0.1"], "--replay 0.1 is not what the run was given itself"),
        (["customer_support", "--name", "rows"], "was not begun with customer_support"),
    ):
        assert _run(["train", "--resume", *words, "--json"]) == 2
        assert says in json.loads(capsys.readouterr().err)["error"]["message"]
    assert Runs(registry.home).to_resume("rows").step == 4
