"""The signals of another trainer: the `trainer_state.json` that transformers and TRL write beside every checkpoint.

Its `log_history` holds what was logged: loss, learning_rate, grad_norm; TRL adds mean_token_accuracy and entropy. A
loss that is no number is logged as 0 by default (`logging_nan_inf_filter`), the norm of its gradient is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lftreg.advice.signals import Check, Point, Signals
from lftreg.errors import InvalidData, NotFound, StorageError

STATE = "trainer_state.json"
HINT = (
    "transformers and TRL write one into every checkpoint folder; trainer.save_state() writes one at the end"
)
SUDDEN = 0.1  # nats: no loss falls from here to exactly 0 between two lines; logs are rounded to 4 places
Entry = Mapping[str, Any]


def has_state(folder: Path) -> bool:
    """Whether a folder, or one of its checkpoints, holds the file."""
    return (folder / STATE).is_file() or any(folder.glob(f"checkpoint-*/{STATE}"))


def newest_state(path: Path) -> Path:
    """The file itself, or the one of the furthest checkpoint in a folder."""
    if path.is_file() or path.suffix == ".json":
        return path
    found = [path / STATE] if (path / STATE).is_file() else []
    found += path.glob(f"checkpoint-*/{STATE}")
    return max(found, key=lambda file: file.stat().st_mtime)


def of_trainer(path: Path) -> Signals:
    """The signals of such a file.

    Raises NotFound where it is not there, InvalidData (`no-trainer-state`) where it is none, StorageError.
    """
    found = _document(path)
    entries = found.get("log_history")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _refused(path, "it holds no log_history, the list of what was logged")
    reader = _Reader(path)
    points = [reader.point(entry) for entry in entries if "loss" in entry]
    checks = [reader.check(entry) for entry in entries if "eval_loss" in entry]
    planned, made = (reader.whole(found, key, "the file") for key in ("max_steps", "global_step"))
    ending = entries[-1] if entries else {}
    settings = {"batch_size": found.get("train_batch_size"), "max_steps": planned}
    return Signals(
        run=str(path),
        trainer="transformers",
        status="done" if made >= planned or "train_runtime" in ending else "interrupted",
        points=_believed(points),
        checks=tuple(checks),
        planned=planned,
        passes=reader.number(found, "epoch", "the file"),
        seconds=reader.number(ending, "train_runtime", "the last line"),
        settings={name: value for name, value in settings.items() if value},
    )


def _document(path: Path) -> Entry:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"no file {path}", HINT, code="unknown-file") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise _refused(path, "it is not JSON, or not all of it was written") from error
    if not isinstance(found, dict):
        raise _refused(path, "it holds no object")
    return found


def _refused(path: Path, why: str) -> InvalidData:
    return InvalidData(f"{path} is no {STATE}: {why}", HINT, code="no-trainer-state")


def _believed(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points, with a loss of 0 that stands for what is no number as just that."""
    found: list[Point] = []
    before = 0.0  # the last loss that was one
    for point in points:
        gone = before > SUDDEN if point.norm is None else not math.isfinite(point.norm)
        if point.loss == 0 and gone:
            point = Point(point.step, math.nan, point.lr, point.norm, point.right, point.entropy, hidden=True)
        elif math.isfinite(point.loss):
            before = point.loss
        found.append(point)
    return tuple(found)


class _Reader:
    """Takes figures out of entries, and names the place of whatever is none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def point(self, entry: Entry) -> Point:
        step, place = self.step(entry)
        return Point(
            step,
            self.figure(entry, "loss", place),
            self.number(entry, "learning_rate", place),
            self.number(entry, "grad_norm", place),
            self.number(entry, "mean_token_accuracy", place),
            self.number(entry, "entropy", place),
        )

    def check(self, entry: Entry) -> Check:
        step, place = self.step(entry)
        optional = ("eval_mean_token_accuracy", "eval_entropy")
        return Check(
            step, self.figure(entry, "eval_loss", place), *(self.number(entry, k, place) for k in optional)
        )

    def step(self, entry: Entry) -> tuple[int, str]:
        step = self.whole(entry, "step", "a line of log_history")
        return step, f"the line of step {step}"

    def whole(self, entry: Entry, key: str, place: str) -> int:
        value = self.figure(entry, key, place)
        if not math.isfinite(value):
            raise _refused(self.path, f"{place} has {value} as {key}")
        return int(value)

    def figure(self, entry: Entry, key: str, place: str) -> float:
        value = self.number(entry, key, place)
        if value is None:
            raise _refused(self.path, f"{place} has no {key}")
        return value

    def number(self, entry: Entry, key: str, place: str) -> float | None:
        value = entry.get(key)
        if value is None:
            return None
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise _refused(
                self.path, f"{place} has {str(value)[:40]!r} as {key}, which is no number"
            ) from error
