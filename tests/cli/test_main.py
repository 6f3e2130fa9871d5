"""How the command behaves whatever it does: help, errors, exit codes, streams, signals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lftreg.cli.main import HABITS, STUBS
from tests.cli.conftest import Lftreg, Publish
from tests.conftest import take_ctrl_c

HEAVY = ("torch", "transformers", "peft", "accelerate", "numpy")


def imported_by(environment: dict[str, str], *words: str) -> set[str]:
    """The modules that a command leaves in sys.modules."""
    script = (
        "import sys, json; from lftreg.cli.main import main; sys.argv = ['lftreg', *json.loads(sys.argv[1])]\n"
        "code = main(); assert code == 0, code; sys.stderr.write('\\n' + json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(words)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_imports_nothing_but_click(environment: dict[str, str]) -> None:
    modules = imported_by(environment, "--help")
    for name in (*HEAVY, "sqlalchemy", "alembic", "rich", "pluggy", "platformdirs", "importlib.metadata"):
        assert name not in modules
    assert not [name for name in modules if name.startswith("lftreg.cli.commands.")]


@pytest.mark.parametrize(
    "words", [("list",), ("show", "support"), ("search", "support"), ("lineage", "support")]
)
def test_looking_things_up_loads_no_model_library(
    environment: dict[str, str], publish: Publish, words: tuple[str, ...]
) -> None:
    publish("support")
    modules = imported_by(environment, *words)
    assert "sqlalchemy" in modules
    for name in (*HEAVY, "alembic"):
        assert name not in modules


def test_no_words_and_help_are_the_same_page(lftreg: Lftreg) -> None:
    page = lftreg("--help").out
    assert lftreg().out == page == lftreg("-h").out
    for stub in STUBS:
        assert re.search(rf"^  {stub.name} +{re.escape(stub.help)}$", page, re.MULTILINE)
    assert max(map(len, page.splitlines())) <= 80


def test_the_table_says_what_the_commands_say() -> None:
    for stub in STUBS:
        loaded = stub.load()
        assert loaded.name == stub.name
        assert (loaded.help or "").splitlines()[0] == stub.help


def test_habits_lead_to_commands_that_exist() -> None:
    names = {stub.name for stub in STUBS}
    assert set(HABITS.values()) <= names
    assert not names & set(HABITS)


def test_version(lftreg: Lftreg) -> None:
    assert re.fullmatch(r"lftreg \d+\.\d+\.\d+\n", lftreg("--version").out)


@pytest.mark.parametrize(
    ("words", "meant"), [(("lst",), "list"), (("merge",), "compose"), (("db", "upgrad"), "upgrade")]
)
def test_unknown_command_names_the_one_that_was_meant(
    lftreg: Lftreg, words: tuple[str, ...], meant: str
) -> None:
    done = lftreg(*words, code=2)
    assert f"unknown command '{words[-1]}'. Did you mean '{meant}'?" in done.err
    assert "--help` lists them" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("lst", "--json"), "unknown-command", "Did you mean 'list'?"),
        (("--json", "show"), "usage", "Missing argument 'REF'."),
        (("--json",), "usage", "which command?"),
        (("list", "--bogus", "--json"), "usage", "No such option '--bogus'"),
        (("list", "--limit", "0", "--json"), "usage", "'0' is no whole number from 1"),
        (("tag", "support", "nonsense", "--json"), "invalid-tag", "'nonsense' is no tag"),
    ],
)
def test_mistakes_of_usage_are_json_too(lftreg: Lftreg, words: tuple[str, ...], code: str, said: str) -> None:
    done = lftreg(*words, code=2)
    assert done.error["code"] == code
    assert said in done.error["message"]
    assert done.error["hint"]
    assert done.out == ""


def test_what_is_not_there_exits_with_3_and_a_suggestion(lftreg: Lftreg, publish: Publish) -> None:
    publish("support")
    done = lftreg("show", "suport", "--json", code=3)
    assert "Did you mean 'support'?" in done.error["message"]
    plain = lftreg("show", "suport", code=3)
    assert plain.err.startswith("error: ")
    assert "\n hint: " in plain.err
    assert "Traceback" not in plain.err


def test_verbose_adds_the_traceback(lftreg: Lftreg) -> None:
    assert "Traceback" in lftreg("show", "nothing", "-v", code=3).err


def test_a_bug_exits_with_70_and_saves_its_traceback(lftreg: Lftreg, home: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import lftreg.cli.documents as d\nd.row = lambda version: 1 / 0\n", encoding="utf-8"
    )
    listed = lftreg("tag", "x", "--json", code=3, PYTHONPATH=str(tmp_path))  # no bug on the way there
    assert listed.error["code"].startswith("unknown")
    (tmp_path / "sitecustomize.py").write_text(
        "import lftreg.config as c\ndef load_settings(**_): return 1 / 0\nc.load_settings = load_settings\n",
        encoding="utf-8",
    )
    done = lftreg("config", "show", "--json", code=70, PYTHONPATH=str(tmp_path))
    assert done.error["code"] == "bug"
    assert "ZeroDivisionError" in done.error["message"]
    saved = Path(done.error["hint"].split()[-1])
    assert "division by zero" in saved.read_text(encoding="utf-8")


def test_options_count_before_and_after_the_command(lftreg: Lftreg, publish: Publish) -> None:
    publish("support")
    assert lftreg("--json", "list").document == lftreg("list", "--json").document
    assert lftreg("-q", "list").out == "support@1\n"


def test_home_flag_wins_over_the_environment(lftreg: Lftreg, publish: Publish, tmp_path: Path) -> None:
    publish("support")
    assert lftreg("list", "--json", "--home", str(tmp_path / "other")).document == []


def test_a_reader_that_leaves_is_no_error(
    environment: dict[str, str], publish: Publish, tmp_path: Path
) -> None:
    publish("support")
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -m lftreg show support --json | true', sys.executable],
        env=environment | {"PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_told(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lftreg", "list", "--json"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["code"] == "disk-full"


def test_closed_streams_are_no_bug(environment: dict[str, str], home: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$0" -m lftreg list >&- 2>&-', sys.executable], env=environment, check=False
    )
    assert done.returncode == 0
    assert not (home / "logs").exists()


def test_ctrl_c_exits_with_130_and_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time, lftreg.config as c\n"
        "def load_settings(**_):\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "c.load_settings = load_settings\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "lftreg", "config", "show"],
        env=environment | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_ctrl_c,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "error: interrupted\n"


def test_a_home_that_cannot_be_made(lftreg: Lftreg, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = lftreg("db", "upgrade", "--json", "--home", str(tmp_path / "file" / "home"), code=1)
    assert done.error["code"] == "storage"
    done = lftreg("list", "--json", "--home", str(tmp_path / "file" / "home"), code=1)
    assert done.error["code"] == "storage" and "a file is in the way" in done.error["hint"]


def test_a_home_that_is_a_file(lftreg: Lftreg, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert lftreg("list", "--home", str(tmp_path / "file"), "--json", code=2).error["code"] == "usage"


def test_names_of_any_script_survive_any_encoding(lftreg: Lftreg, publish: Publish) -> None:
    publish("support", tags={"owner": "Zoë 支援"})
    for encoding in ("utf-8", "ascii", "latin-1"):
        document = lftreg("list", "--json", PYTHONIOENCODING=f"{encoding}", PYTHONUTF8="0").document
        assert document[0]["tags"] == {"owner": "Zoë 支援"} or encoding == "latin-1"
