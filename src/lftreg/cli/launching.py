"""Several processes that train one adapter, started by accelerate's launcher: each runs the command that was typed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lftreg.errors import Interrupted, LftregError, NotFound, Unavailable, UsageError

LAUNCHED = "LFTREG_LAUNCHED"
INTERRUPTS = {-2: 130, 130: 130, -15: 143, 143: 143}


class Ended(LftregError):
    """A process ended with an exit code of its own, and has said why."""

    code = "ended"


def launched() -> bool:
    """Whether this process is one of several."""
    return LAUNCHED in os.environ


def follows() -> bool:
    """Whether another process speaks for this one."""
    return launched() and os.environ.get("RANK", "0") != "0"


def launch(gpus: int | None, processes: int | None, config: Path | None) -> None:
    """Start the command again in several processes and wait for them. The first one speaks for all.

    Raises UsageError or Unavailable where so many cannot be had, and Ended with the exit code of a process that
    failed.
    """
    count = _count(gpus, processes)
    if config is not None and not config.is_file():
        raise NotFound(
            f"no file {config}", "`accelerate config --config_file FILE` writes one", code="unknown-file"
        )
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    words = ["-m", "lftreg", *sys.argv[1:]]
    logging.getLogger("torch.distributed").setLevel(
        logging.CRITICAL
    )  # it would tell of what the first process tells
    with _told(LAUNCHED, "1"), _told("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", _threads(count))):
        try:
            _on_cpus(count, words) if processes is not None else _on_gpus(count, config, words)
        except ChildFailedError as error:
            raise _failed({rank: failure.exitcode for rank, failure in error.failures.items()}) from None
        except SignalException as error:
            raise _ended(128 + int(error.sigval)) from None


def _count(gpus: int | None, processes: int | None) -> int | None:
    """How many processes; None where the configuration says it."""
    if gpus is not None and processes is not None:
        raise UsageError("both --gpus and --processes", "--processes is for machines without a GPU")
    for name, number in (("--gpus", gpus), ("--processes", processes)):
        if number is not None and number < 1:
            raise UsageError(f"{name} {number} makes no sense", "give 1 or more")
    if gpus:
        import torch

        here = torch.cuda.device_count()
        if here < gpus:
            raise Unavailable(
                f"--gpus {gpus}, and {f'only {here}' if here else 'none'} here",
                "--processes N trains in several processes on the CPU"
                if not here
                else f"give at most {here}",
                code="no-gpu",
            )
    return gpus or processes


def _on_gpus(count: int | None, config: Path | None, words: list[str]) -> None:
    from accelerate.commands.launch import launch_command, launch_command_parser

    if config is not None:
        options = ["--config_file", str(config)] + ([] if count is None else ["--num_processes", str(count)])
    elif count == 1:
        options = [
            "--num_processes",
            "1",
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
        ]
    else:
        options = [
            "--multi_gpu", "--num_processes", str(count), "--num_machines", "1",
            "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
        ]  # fmt: skip
    launch_command(launch_command_parser().parse_args([*options, *words]))


def _on_cpus(count: int | None, words: list[str]) -> None:
    """What accelerate's launcher does, which on CPUs wants mpirun."""
    from torch.distributed import run

    with _told("ACCELERATE_USE_CPU", "true"):
        start: Any = run.run
        start(run.get_args_parser().parse_args(["--standalone", "--nproc-per-node", str(count), *words]))


def _threads(count: int | None) -> str:
    """Each process computes with its share of the cores."""
    return str(max(1, (os.cpu_count() or 1) // (count or 1)))


def _failed(codes: Mapping[int, int]) -> LftregError:
    """The error for exit codes by process. One that fails has the others ended, by a signal that says nothing."""
    own = {rank: code for rank, code in codes.items() if code > 0 and code not in INTERRUPTS}
    if own:
        ended: LftregError = Ended(f"process {min(own)} failed", "`lftreg runs` tells what is saved")
        ended.exit_code = own[min(own)]
        ended.told = 0 in own
        return ended
    interrupted = [INTERRUPTS[code] for code in codes.values() if code in INTERRUPTS]
    if interrupted:
        return _ended(interrupted[0])
    return Ended(
        "one of the processes was killed",
        "memory may have run out; `lftreg train --resume` goes on",
        code="killed",
    )


def _ended(code: int) -> LftregError:
    interrupted = code in (130, 143)
    ended: LftregError = Interrupted("stopped") if interrupted else Ended("one of the processes failed")
    ended.exit_code = code if code > 0 else 1
    ended.told = code > 0
    return ended


@contextmanager
def _told(name: str, value: Any) -> Iterator[None]:
    """An environment variable, for the processes that are started within."""
    before = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
