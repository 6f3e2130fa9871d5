"""Every command and every block of Python of README and docs/ is run, page by page, in the order in which it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forks
from tests.hub.server import serve
from tests.hub.state import State, User
from tests.postgres import Postgres

from .pages import ROOT, Reader, clean_environment, comes_back, fill_cache, goes_on_from, pages, read, steps

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Lines that are not run here, each for its reason.
NOT_RUN = {
    "make demo": "tests/journeys/test_main_job.py trains, composes and asks as it does",
    "make test": "it is what runs this",
    "python3 -m venv .venv": "tests/journeys/empty.py makes environments",
    ". .venv/bin/activate": "there is one already",
    "pip install .": "tests/journeys/test_wheel.py installs the wheel",
    "pip install --editable ./lftreg-workshop": "tests/journeys/test_plugin_kit.py installs plugins",
    "lftreg train --data ./inbox.jsonl --gpus 2": "no two GPUs are here; test_processes.py takes two processes",
    "lftreg train --resume": "nothing was interrupted; test_resume.py interrupts, and tests/training/killing.py kills",
    "lftreg train customer_support financial_advisor code_generation": "as the plan on the line below it",
    "lftreg serve --selftest": "tests/cli/test_selftest.py asks",
    "lftreg train workshop": "it is not installed here; test_plugin_kit.py trains on it",
    "lftreg eval customer_support --blind": "it asks a person; tests/cli/test_blind.py answers",
    "pip install 'lftreg[serve]'": "test_wheel.py installs the wheel",
    "lftreg serve": "it goes on until it is stopped; tests/cli/test_serve.py starts it, test_page.py asks it",
    "lftreg serve --host 0.0.0.0": "as the line above",
    "lftreg plugins enable workshop": "it is not installed here; tests/cli/test_plugins.py enables one",
    "lftreg plugins check workshop": "as the line above",
    "hf auth login": "there is a token in the environment",
    "lftreg doctor customer_support": "trained for two steps it is not healthy; test_doctor.py trains and asks",
}
TEAM_DATABASE, TEAM_FILES = "postgresql://ann@db.example/lftreg", "/srv/lftreg"
SHELL = ("head ", "cp ", "ls ", "cat ", "export ")  # run as they are


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """The folder in which every page has one of its own, beside the cache of the hub."""
    import huggingface_hub.constants

    folder = tmp_path_factory.mktemp("reader")
    clean_environment(patch)
    patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "cache"))
    fill_cache(folder / "cache")
    return folder


@pytest.fixture(scope="module", autouse=True)
def hub(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub of this machine, in which the reader has an account."""
    import huggingface_hub.constants  # while the machine is still offline to it, whatever was imported before

    assert huggingface_hub.constants.HF_HUB_OFFLINE
    forks.warm_up()
    with serve(State(users={"hf_OfTheReader0000000000": User("reader", ("our-desk",))})) as hub:
        for name, value in (("HF_ENDPOINT", hub.url), ("HF_TOKEN", "hf_OfTheReader0000000000")):
            patch.setenv(name, value)
        patch.delenv("HF_HUB_OFFLINE", raising=False)  # of lftreg; what the library read at import stays
        yield


def test_pages_show_commands() -> None:
    assert len(pages()) >= 7
    for name in pages():
        assert len(list(steps(read(name)))) >= 2, name


@pytest.mark.parametrize("name", pages())
def test_a_page_works_as_it_says(
    name: str, desk: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    reader = Reader(desk / (goes_on_from(name) or name), monkeypatch)
    reader.prepare()
    if TEAM_DATABASE in read(name):
        server: Postgres = request.getfixturevalue("postgres")
        reader.stands_for = {TEAM_DATABASE: server.url(server.new()), TEAM_FILES: str(desk / "team")}
        (desk / "team").mkdir()
    before = goes_on_from(name)
    if before is not None and not (reader.folder / "home").exists():  # this page alone was asked for
        for step in steps(read(before)):
            if step.text not in NOT_RUN:
                reader.do(step)
    for step in steps(read(name)):
        if step.text in NOT_RUN:
            continue
        assert step.language == "python" or step.text.startswith(("lftreg ", *SHELL)), step.text
        reader.do(step)


def test_what_is_not_run_stands_on_a_page() -> None:
    typed = {step.text for name in pages() for step in steps(read(name))}
    assert set(NOT_RUN) <= typed


def test_a_page_goes_on_from_one_before_it() -> None:
    order = pages()
    for name in order:
        if (before := goes_on_from(name)) is not None:
            assert order.index(before) < order.index(name)


def test_the_plan_of_the_page_is_the_example() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", read("training.md"), re.DOTALL)
    assert shown == (ROOT / "examples" / "own-data" / "adapters.toml").read_text(encoding="utf-8")


def test_output_is_compared_by_its_words() -> None:
    assert comes_back("error: a long\n       sentence\n", "error: a long sentence\n")
    assert comes_back("one\n...\nfour\n", "one\ntwo\nthree\nfour\n")
    assert not comes_back("one\nfour\n", "one\ntwo\nthree\nfour\n")
    assert not comes_back("one\n", "one\ntwo\n")


def test_readme_and_the_site_begin_with_the_same_two_commands() -> None:
    first = [re.findall(r"```console\n\$ (make \w+)", read(name))[:1] for name in ("README.md", "index.md")]
    assert first[0] == first[1]
