"""Random faults, drawn by seeds: each ends in identical content or in a named error, and never in a second commit.

A short run here; `LFTREG_HUB_FAULTS=2000` is the long one of `make soak`.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import LftregError
from lftreg.plugins.types import Patience
from lftreg.registry import CONFIG, WEIGHTS, Base, Registry, Version
from tests.hub.conftest import people
from tests.hub.faults import Plan
from tests.hub.server import Hub
from tests.hub.sharing import REPO, make, pull, push, registry_at
from tests.hub.state import Repo, State

CASES = int(os.environ.get("LFTREG_HUB_FAULTS", "16"))
FIRST = int(os.environ.get("LFTREG_HUB_SEED", "0"))
HASTE = Patience(connect=0.5, silence=0.25, whole=4.0, tries=4, pause=0.01, longest=0.05)
CALM = Patience(whole=300.0)  # where nothing goes wrong
HANGS = 60.0  # seconds after which a case hangs, far past its deadline, however busy the machine
# The errors that a fault may end in.
NAMED = {
    "answer-lost", "damaged-download", "rate-limited", "remote-answer", "remote-changed", "remote-deadline",
    "remote-path", "remote-refused", "remote-unreachable", "tag-exists",
}  # fmt: skip
LATE = {"peft-type"}  # where a first answer came too late, and the second named what main was moved to


@dataclass
class Outcome:
    """How a call ended: what it gave, or the error it raised."""

    value: Any = None
    error: BaseException | None = None


def watched(call: Callable[[], Any]) -> Outcome:
    """Run a call in a thread, and notice where it never ends."""
    outcome = Outcome()

    def run() -> None:
        try:
            outcome.value = call()
        except BaseException as error:  # noqa: BLE001 the case judges it
            outcome.error = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive(), "it hangs"
    return outcome


def named(outcome: Outcome, allowed: set[str]) -> str:
    error = outcome.error
    assert isinstance(error, LftregError), repr(error)
    assert error.code in allowed, f"{error.code}: {error}"
    assert error.hint
    return error.code


def holds(repo: Repo, sha: str, version: Version, registry: Registry) -> bool:
    """Whether a commit holds the weights and the configuration of a version, byte for byte."""
    content = repo.commits[sha].content
    return all(content.get(name) == registry.read(version, name) for name in (WEIGHTS, CONFIG))


def check_commits(repo: Repo) -> None:
    """No commit repeats the one before it, and anna's are whole."""
    for commit in repo.commits.values():
        before = repo.commits.get(commit.parent or "")
        assert before is None or before.content != commit.content, "a commit that changes nothing"
        if commit.by == "anna":
            assert {WEIGHTS, CONFIG, "README.md", "lftreg.json"} <= set(commit.files), "half a commit"


def push_case(seed: int, hub: Hub, mine: Registry, versions: tuple[Version, Version]) -> str:
    draw = random.Random(seed)
    hub.state.chunk = draw.choice((None, None, 700))
    options: dict[str, Any] = {}
    proposed = draw.random() < 0.2
    if proposed:
        hub.state.repo("their-desk/x")
        place, options["create_pr"] = "their-desk/x", True
    else:
        place = REPO
        if draw.random() < 0.5:
            push(mine, versions[0], place, patience=CALM)
        if draw.random() < 0.4:
            options["tag"] = "v1"
    version = versions[1]
    plan = hub.fault = hub.plan = Plan(
        seed, rate=draw.choice((0.1, 0.25, 0.5)), most=draw.choice((1, 2, 4, 40))
    )
    outcome = watched(lambda: push(mine, version, place, patience=HASTE, **options))
    hub.fault = lambda asked: None
    repo = hub.state.repos.get(place)
    if repo is None:
        return named(outcome, NAMED)
    check_commits(repo)
    ours = [c.sha for c in repo.commits.values() if c.by == "anna" and holds(repo, c.sha, version, mine)]
    contents = [repo.commits[sha].content["lftreg.json"] for sha in ours]
    rivals = sum("rival" in one or "moved" in one for one in plan.happened)
    assert len(ours) <= 1 + rivals, f"{len(ours)} commits of one push"
    assert len(repo.proposals()) <= 1, "two pull requests of one push"
    if outcome.error is not None:
        return named(outcome, NAMED)
    assert outcome.value.commit in ours and len(set(contents)) == 1
    if "tag" in options:
        assert repo.refs["refs/tags/v1"] == outcome.value.commit or "moved" in str(plan.happened)
    if not rivals and not proposed:
        assert repo.head.sha == outcome.value.commit
    return "same"


def pull_case(seed: int, hub: Hub, theirs: Registry, version: Version, commit: str) -> str:
    draw = random.Random(seed)
    hub.state.page = draw.choice((2, 100))
    hub.state.elsewhere = draw.random() < 0.6
    revision = draw.choice(("@v1", f"@{commit}", ""))
    plan = hub.fault = hub.plan = Plan(
        seed, rate=draw.choice((0.1, 0.25, 0.5)), most=draw.choice((1, 2, 4, 40))
    )
    name = f"case-{seed}"
    before = len(theirs.list())
    outcome = watched(lambda: pull(theirs, f"{REPO}{revision}", name=name, patience=HASTE))
    hub.fault = lambda asked: None
    assert not any(theirs.home.scratch.iterdir()), "something was left behind"
    if outcome.error is not None:
        assert len(theirs.list()) == before, "registered, and failed"
        return named(outcome, NAMED | LATE if "moved of info" in plan.happened else NAMED)
    pulled = outcome.value
    assert pulled.version.digest == version.digest and pulled.origin["commit"] == commit
    assert theirs.verify(pulled.version.ref) == []
    return "same"


@pytest.fixture
def sides(tmp_path: Path, base: Base) -> tuple[Registry, Registry, tuple[Version, Version]]:
    mine, theirs = registry_at(tmp_path / "mine", base), registry_at(tmp_path / "theirs", base)
    made = make(mine, tmp_path / "made", base=base), make(mine, tmp_path / "made", seed=1, base=base)
    return mine, theirs, made


@pytest.mark.timeout(7200)
def test_random_faults(
    hub: Hub, sides: tuple[Registry, Registry, tuple[Version, Version]], capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs, versions = sides
    ends: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + CASES):
        for name, value in vars(State(users=people())).items():
            if name != "lock":
                setattr(hub.state, name, value)
        try:
            if seed % 2:
                end = f"push: {push_case(seed, hub, mine, versions)}"
            else:
                commit = push(mine, versions[0], REPO, tag="v1", patience=CALM, force=True).commit
                end = f"pull: {pull_case(seed, hub, theirs, versions[0], commit)}"
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}; {hub.plan and hub.plan.happened}") from error
        finally:
            hub.fault = lambda asked: None
        ends[end] += 1
        if sum(ends.values()) % 50 == 0:
            with capsys.disabled():
                told = ", ".join(f"{count} {end}" for end, count in ends.most_common())
                print(f"\n{sum(ends.values())} of {CASES}: {told}", flush=True)
    assert sum(ends.values()) == CASES
    assert CASES < 10 or min(ends["push: same"], ends["pull: same"]) > CASES / 10
    shutil.rmtree(theirs.home.root)
