"""Code is run by real processes, the worst of it too; after each nothing may be left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lftreg.errors import Unavailable
from lftreg.evaluation import running
from lftreg.evaluation.keeper import descendants
from lftreg.evaluation.running import Outcome, _check_all, _Limits, check, check_many, code_of, unguarded
from lftreg.plugins.host import Host
from tests.conftest import take_ctrl_c

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")
TESTS = "assert double(2) == 4"
RIGHT = "def double(x):\n    return 2 * x\n"
ENDLESS = "while True:\n    pass"
BOMB = "import os\nwhile True:\n    os.fork()"
SPREADING_BOMB = "import os\nwhile True:\n    if os.fork() == 0:\n        os.setsid()"


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of all attempts, empty again after each test; and no process has ever worked in it."""
    folder = tmp_path / "attempts"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert marked(folder) == []
    assert list(folder.iterdir()) == []


def marked(folder: Path) -> list[int]:
    """The living processes whose HOME is a folder of attempts, or whose job was to watch one."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOME={folder}/".encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:
            continue
    return found


def code(text: str) -> str:
    return textwrap.dedent(text)


def test_code_that_its_tests_prove_passes() -> None:
    assert check(RIGHT, TESTS) == Outcome("passed")


def test_a_wrong_answer_fails_and_is_told_at_which_line() -> None:
    outcome = check("def double(x):\n    pass", f"x = 1\n{TESTS}\nassert False")
    assert outcome == Outcome("failed-assert", f"AssertionError, in {TESTS}")


@pytest.mark.parametrize(
    ("solution", "reason", "told"),
    [
        ("", "no-code", ""),
        (" \n\t", "no-code", ""),
        ("def double(x) return", "error", "SyntaxError"),
        ("def treble(x): return 3 * x", "error", "NameError"),
        ("def double(x): return x / 0", "error", "ZeroDivisionError"),
        ("raise SystemExit", "error", "SystemExit"),
        ("import sys\nsys.exit(0)", "error", "SystemExit: 0"),
        ("import os\nos._exit(0)", "error", "exited with 0"),
        ("def double(x): raise SystemExit(0)", "error", "SystemExit"),
        ("import os\ndef double(x): os._exit(0)", "error", "exited with 0"),
        ("import os\nos.execv('/bin/true', ['true'])", "error", "exited with 0"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nimport ctypes\nctypes.string_at(0)", "error", "SIG"),
        ("import ctypes\nctypes.string_at(0)", "error", "SIGSEGV"),
        ("def double(x): return double(x)", "error", "RecursionError"),
        ("double = lambda x: int(input())", "error", "EOFError"),
        ("import torch", "error", "ModuleNotFoundError"),
        ("import lftreg", "error", "ModuleNotFoundError"),
        ("x = '\0'", "error", ""),
        ("x = '\udc80'", "error", ""),
        ("import os\nos.closerange(0, 64)", "error", ""),
        ("class Odd(Exception):\n    def __str__(self): raise Odd\nraise Odd", "error", "Odd"),
    ],
)  # fmt: skip
def test_what_does_not_run_to_its_end_has_not_passed(solution: str, reason: str, told: str) -> None:
    outcome = check(solution, TESTS)
    assert outcome.reason == reason
    assert told in outcome.detail
    assert outcome.detail.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize(
    "solution",
    [
        ENDLESS,
        "import signal\nfor n in (15, 14, 2, 24): signal.signal(n, signal.SIG_IGN)\n" + ENDLESS,
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import time\ntime.sleep(1000)",
        "def double(x): return '1' * 10**9 + double(x) if 0 else __import__('time').sleep(1000)",
        "import threading\nthreading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()\n" + ENDLESS,
        "class Odd(Exception):\n    def __str__(self):\n        while True: pass\nraise Odd",
    ],
)
def test_what_does_not_end_is_ended(solution: str) -> None:
    start = time.monotonic()
    assert check(solution, TESTS, seconds=0.5) == Outcome("timed-out", "it took more than 0.5 s")
    assert time.monotonic() - start < 20


def test_a_thread_that_goes_on_does_not_hold_up_a_pass() -> None:
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n"
    assert check(thread + RIGHT, TESTS).passed


@pytest.mark.parametrize(
    "solution",
    [
        "x = []\nwhile True: x.append(bytearray(10**6))",
        "x = bytearray(10**12)",
        "def double(x): return [x] * 10**12",
        "x = 'a'\nwhile True: x += x",
    ],
)
def test_full_memory_is_told_as_such(solution: str) -> None:
    assert check(solution, TESTS, memory=128 * 2**20, seconds=20).reason == "out-of-memory"


def test_memory_counts_for_all_processes_together() -> None:
    solution = code("""
        import os, time
        for _ in range(9):
            if os.fork() == 0: break
        x = b"x" * (60 * 2**20)
        time.sleep(60)
    """)
    outcome = check(solution, TESTS, memory=128 * 2**20, seconds=30)
    assert outcome == Outcome("out-of-memory", "its processes together took too much memory")


def test_a_flood_of_output_is_cut_off_and_a_little_is_not() -> None:
    for stream in ("stdout", "stderr"):
        flood = f"import sys\nwhile True: sys.{stream}.write('x' * 1000)"
        assert check(flood, TESTS).reason == "too-much-output"
    assert check(f"{RIGHT}\nprint('x' * 1000)", TESTS).passed
    assert check(f"{RIGHT}\nprint('x' * 5000, flush=True)", TESTS, output=4096, seconds=1).reason != "passed"


def test_a_huge_file_is_not_written() -> None:
    outcome = check("with open('large', 'wb') as file:\n    while True: file.write(bytes(2**20))", TESTS)
    assert outcome.reason == "too-much-output"
    assert "File too large" in outcome.detail


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("bomb", [BOMB, SPREADING_BOMB], ids=["one-session", "many-sessions"])
def test_a_fork_bomb_is_put_out(bomb: str, apart: bool) -> None:
    """Put out as root too, whom no limit of processes holds; it ends itself, should all else fail."""
    bounded = bomb.replace("import os", "import os, signal\nsignal.alarm(20)")
    bounded = bounded.replace("while True", "import time\nend = time.time() + 20\nwhile time.time() < end")
    (outcome,) = _check_all([(bounded, TESTS)], 1, None, _Limits(apart=apart))
    assert outcome == Outcome("too-many-processes", "it had more than 32 processes at once")


@pytest.mark.slow
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("end", ["", "os._exit(0)", ENDLESS, RIGHT])
def test_a_daemon_does_not_outlive_the_attempt(nothing_left: Path, end: str, apart: bool) -> None:
    daemon = code("""
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.setsid()
                open("born", "w").close()
                time.sleep(300)
            os._exit(0)
        while not os.path.exists("born"): time.sleep(0.01)
    """)
    (outcome,) = _check_all([(daemon + end, TESTS)], 1, None, _Limits(seconds=2, apart=apart))
    assert outcome.reason == {"": "error", ENDLESS: "timed-out", RIGHT: "passed"}.get(end, "error")
    assert marked(nothing_left) == []


def test_a_child_that_goes_on_with_the_tests_does_not_pass_for_its_parent() -> None:
    assert check(f"import os\n{RIGHT}\nif os.fork(): os._exit(0)", TESTS).reason == "error"
    assert check(f"import os\n{RIGHT}\nos.fork()", TESTS).passed


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_one_that_kills_its_keeper_has_not_passed_and_is_swept_away(nothing_left: Path, number: str) -> None:
    killer = code(f"""
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(300)
        os.kill(os.getppid(), signal.{number})
        time.sleep(300)
    """)
    (outcome,) = _check_all([(killer, TESTS)], 1, None, _Limits(apart=False))
    assert outcome == Outcome("error", "it ended the process that watched it")
    assert marked(nothing_left) == []


def test_changed_builtins_and_modules_do_not_make_a_wrong_answer_pass() -> None:
    changed = code("""
        import builtins, os, sys
        def double(x): return x
        nothing = lambda *a, **k: None
        for name in ("exec", "compile", "print", "isinstance", "AssertionError", "BaseException", "type", "len", "int"):
            setattr(builtins, name, nothing)
        for name in ("write", "read", "_exit", "getpid"):
            setattr(os, name, nothing)
        sys.exit = sys.excepthook = nothing
    """)
    assert not check(changed, TESTS, seconds=2).passed
    assert check(changed.replace("return x", "return 2 * x"), TESTS, seconds=2).passed


def test_telling_that_it_is_done_is_not_enough() -> None:
    guess = code("""
        import os
        for end in range(3, 64):
            try: os.write(end, b"ready\\ndone \\ndone 0\\n")
            except OSError: pass
    """)
    assert not check(guess + "os._exit(0)", TESTS).passed
    assert not check(guess + "def double(x): return x", TESTS).passed


def test_code_can_delete_the_folder_that_it_is_in() -> None:
    assert check(f"import os, shutil\nshutil.rmtree(os.getcwd())\n{RIGHT}", TESTS).passed


def test_it_runs_in_an_empty_folder_of_its_own_that_goes(nothing_left: Path) -> None:
    look = "import os\nhere = os.getcwd()\nfound = os.listdir('.')\nos.makedirs('a/b')\nos.chmod('a', 0)\n"
    assert check(look, f"assert found == [] and here.startswith({str(nothing_left)!r})").passed


def test_no_token_and_no_setting_of_ours_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "LFTREG_HOME", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD"):
        monkeypatch.setenv(name, "")
    allowed = {"HOME", "TMPDIR", "PATH", "LANG", "LC_CTYPE", "TZ", "PYTHONHASHSEED", "PYTHONUTF8",
               "MALLOC_ARENA_MAX", "ATTEMPT"}  # fmt: skip
    assert check("import os", f"assert set(os.environ) <= {allowed!r}, os.environ") == Outcome("passed")


def test_no_file_of_ours_is_open_in_it(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        look = code("""
            import os
            places = [f"/proc/self/fd/{number}" for number in range(64)]
            open_ones = [os.readlink(place) for place in places if os.path.lexists(place)]
        """)
        tests = "assert all(one == '/dev/null' or one.startswith('pipe:') for one in open_ones), open_ones"
        assert check(look, tests) == Outcome("passed")


def test_the_same_code_does_the_same_each_time() -> None:
    order = "words = list({'one', 'two', 'three', 'four', 'five', 'six', 'seven'})"
    detail = check(order, "assert False, words").detail
    assert all(check(order, "assert False, words").detail == detail for _ in range(3))


def test_a_demonstration_under_main_is_not_run_and_dataclasses_find_their_module() -> None:
    solution = code("""
        from __future__ import annotations
        from dataclasses import dataclass
        import pickle
        @dataclass
        class Point:
            x: int
        if __name__ == "__main__":
            raise SystemExit
    """)
    assert check(solution, "assert pickle.loads(pickle.dumps(Point(1))) == Point(1)") == Outcome("passed")


def test_large_code_and_large_tests_reach_it() -> None:
    large = "\n".join(f"x{n} = {n}" for n in range(20_000))
    assert check(f"{large}\n{RIGHT}", f"{large}\n{TESTS}", seconds=30).passed


def test_many_keep_their_order_and_tell_of_progress() -> None:
    pairs = [(f"def double(x): return {n}", TESTS) for n in (4, 3, 4, 4)] + [("", TESTS)]
    told: list[int] = []
    found = check_many(pairs, workers=3, progress=told.append)
    assert [each.passed for each in found] == [True, False, True, True, False]
    assert told == sorted(told)
    assert told[-1] == len(pairs)
    assert check_many([]) == []


def test_whatever_stops_many_leaves_no_process(nothing_left: Path) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_many([(RIGHT, TESTS), (ENDLESS, TESTS), (SPREADING_BOMB[:9], "import time\ntime.sleep(60)")] * 2,
                   workers=3, progress=stop, seconds=60)  # fmt: skip
    assert marked(nothing_left) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(nothing_left: Path, number: signal.Signals) -> None:
    """Ctrl-C, and the ends that cannot be caught: then the keepers clear up by themselves."""
    script = "from lftreg.evaluation.running import check_many\n"
    script += f"check_many([({ENDLESS!r}, '')] * 4, workers=2, seconds=100)"
    environment = os.environ | {"TMPDIR": str(nothing_left), "PYTHONPATH": os.pathsep.join(sys.path)}
    asking = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL, preexec_fn=take_ctrl_c
    )
    wait_for(lambda: len(marked(nothing_left)) == 2)
    asking.send_signal(number)
    assert asking.wait(30) != 0
    wait_for(lambda: marked(nothing_left) == [] and not list(nothing_left.iterdir()))


def wait_for(what: object, seconds: float = 60) -> None:
    assert callable(what)
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_descendants_are_found_below_their_parent() -> None:
    shell = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & sleep 60 & wait"])
    try:
        wait_for(lambda: len(list(descendants(shell.pid))) == 2)
        assert shell.pid in descendants(os.getpid())
    finally:
        for pid in [*descendants(shell.pid), shell.pid]:
            os.kill(pid, signal.SIGKILL)
        shell.wait()


def test_windows_is_told_that_it_cannot_and_others_what_they_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unguarded() == ""
    monkeypatch.setattr(running, "SYSTEM", "darwin")
    assert "not limited" in unguarded()
    monkeypatch.setattr(running, "SYSTEM", "win32")
    with pytest.raises(Unavailable) as caught:
        check(RIGHT, TESTS)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("def f():\n    return 1\n", "def f():\n    return 1"),
        ("Sure!\n```python\nx = 1\n```\nThat is it.\n```python\nx = 2\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```sh\npip install x\n```\nthen\n```py\nx = 1\n```", "x = 1"),
        ("```Python3 title=a\nx = 1\n```", "x = 1"),
        ("~~~python\nx = '''\n```\n'''\n~~~", "x = '''\n```\n'''"),
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''"),
        ("Here:\n```python\ndef f():\n    return", "def f():\n    return"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1"),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```\n", "if x:\n    y"),
        ("Here is a function.\n\ndef f():\n    return 1\n\nIt gives 1 back.", "def f():\n    return 1"),
        ("from the list, import all\nimport os\nx = os.sep\nDone, it works.", "import os\nx = os.sep"),
        ("def f(:\n    return", "def f(:\n    return"),
        ("I cannot do that.", ""),
        ("", ""),
        ("```python\n```", ""),
    ],
)
def test_the_code_of_an_answer_is_found(answer: str, expected: str) -> None:
    assert code_of(answer).strip() == expected


@pytest.mark.slow
def test_every_solution_of_the_built_in_domain_passes_its_tests() -> None:
    rows = {
        row.response: row for row in Host(off=(), external=False).domain("code_generation").build("test", 0)
    }
    assert len(rows) > 200
    assert all(row.tests for row in rows.values())
    cases = [(row.fact, f"{code_of(row.response)}\n\n{row.tests}") for row in rows.values()]
    each = "for fact, program in CASES:\n    print(fact)\n    exec(program, {'__name__': '__main__'})\n"
    found = check_many(
        [(f"CASES = {cases[n : n + 20]!r}", each) for n in range(0, len(cases), 20)], seconds=60
    )
    assert [each for each in found if not each.passed] == []
