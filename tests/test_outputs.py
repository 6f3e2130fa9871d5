"""What is done with several files at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lftreg.outputs import at_once


@pytest.mark.parametrize("number", [0, 1, 2, 9])
def test_each_is_done_before_it_returns_and_stands_in_its_place(number: int) -> None:
    done: list[int] = []

    def do(item: int) -> int:
        threading.Event().wait(0.01 * (number - item))
        done.append(item)
        return item * item

    assert at_once(do, range(number)) == [n * n for n in range(number)]
    assert sorted(done) == list(range(number))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_what_fails_in_any_of_them_is_told_after_all_ended(bad: int, tmp_path: Path) -> None:
    """The folder is gone right after: no thread may still write to it."""
    running: list[threading.Thread] = []

    def do(item: int) -> None:
        running.append(threading.current_thread())
        if item == bad:
            raise OSError("full")
        (tmp_path / str(item)).write_bytes(b"x")

    with pytest.raises(OSError, match="full"):
        at_once(do, range(3))
    assert not [thread for thread in running if thread.is_alive() and thread is not threading.main_thread()]
    assert not (tmp_path / str(bad)).exists()
