"""What a run told, line by line in its folder, so that it can be judged however it ends.

A line is written as soon as something happens. A process that is killed leaves what it had told; a line that was
cut off by it is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lftreg.training.events import Event, Listener, Resumed, Shrunk, Stepped, Validated, Warned

JOURNAL = "journal.jsonl"
KINDS = {kind.__name__: kind for kind in (Stepped, Validated, Shrunk, Resumed, Warned)}


@dataclass(frozen=True, slots=True)
class Journal:
    """Steps and validations in their order, each once, and the steps at which memory ran out."""

    steps: tuple[Stepped, ...] = ()
    validations: tuple[Validated, ...] = ()
    shrunk: tuple[Shrunk, ...] = ()


@contextmanager
def journaling(folder: Path, listen: Listener, writes: bool) -> Iterator[Listener]:
    """A listener that tells `listen` and, where this process `writes`, the journal of a run's folder.

    A journal that cannot be written ends no run: it says so once.
    """
    if not writes:
        yield listen
        return
    failed = False
    with (folder / JOURNAL).open("a", encoding="utf-8", buffering=1) as file:

        def tell(event: Event) -> None:
            nonlocal failed
            listen(event)
            if failed or type(event).__name__ not in KINDS:
                return
            try:
                file.write(json.dumps({"kind": type(event).__name__, **asdict(event)}) + "\n")
            except OSError as error:
                failed = True
                listen(Warned(f"the journal of the run is no longer written: {error}"))

        yield tell


def read_journal(folder: Path) -> Journal:
    """The journal of a run's folder, empty where there is none.

    A run that went on from a checkpoint did some steps twice: what counts is the later time.
    """
    steps: dict[int, Stepped] = {}
    validations: dict[int, Validated] = {}
    shrunk: list[Shrunk] = []
    for event in _events(folder / JOURNAL):
        if isinstance(event, Stepped):
            steps[event.step] = event
        elif isinstance(event, Validated):
            validations[event.step] = event
        elif isinstance(event, Shrunk):
            shrunk.append(event)
        elif isinstance(event, Resumed):
            steps = {step: one for step, one in steps.items() if step <= event.step}
            validations = {step: one for step, one in validations.items() if step <= event.step}
    in_order = sorted(validations.items())
    return Journal(
        tuple(one for _, one in sorted(steps.items())), tuple(one for _, one in in_order), tuple(shrunk)
    )


def _events(path: Path) -> Iterator[Event]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        try:
            found: dict[str, Any] = json.loads(line)
            kind = KINDS[found.pop("kind")]
            yield kind(**found)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
