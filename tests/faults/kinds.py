"""What a fault case is, and the properties by which a finished run is judged, whoever ran it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

IGNORED = -100
QUICK = ("--max-steps", "10", "--lr", "1e-2", "--rank", "4")

Make = Callable[[str], Path]  # a tiny base by its model type; never to be changed, only copied
When = Literal["plan", "load", "step"]


@dataclass(frozen=True)
class Setup:
    """Everything that a case needs, on the disk.

    `words` go after `lftreg train`; `data` and `base` are among them, and are what another trainer is given too.
    """

    words: tuple[str, ...]
    base: Path
    data: Path | None = None
    site: Path | None = None  # packages that lftreg finds plugins in
    texts: tuple[str, ...] = ()  # what has to be learned, by row of the training split


@dataclass(frozen=True)
class Seen:
    """What a finished run is seen to have done.

    `rows` are pairs of ids and labels; `texts` what each of them learns, decoded; `stops` the ids that end an
    answer; `moved` says of every adapted module whether its second factor left zero; `layers` is the number of
    blocks; `invented` are weights that the base's file lacks; `shared` counts prompts in training that are held
    out too; `apart` is the largest change of a row's loss by its neighbours in a packed line.
    """

    losses: Sequence[float]
    rows: Sequence[Sequence[Sequence[int]]]
    texts: Sequence[str]
    stops: Sequence[int]
    moved: Mapping[str, bool]
    layers: int
    digest: str = ""
    invented: Sequence[str] = ()
    shared: int = 0
    apart: float = 0.0
    one_batch: float | None = None  # the first loss where all rows are one batch
    again: str = ""  # the digest of a second run


Property = Callable[[Seen, Setup], str | None]


@dataclass(frozen=True)
class Caught:
    """It must end with this error. `when`: by `--dry-run` too, while the base is read, or at a step."""

    code: str
    says: str
    exit: int = 2
    when: When = "plan"


@dataclass(frozen=True)
class Case:
    """A fault, what users say of it, and what must happen.

    `clear` is what any trainer's last line has to name so that a user can act; `holds` judges a run that
    finished. `trl` are arguments of an SFTTrainer as a user would write them, None where there is no
    equivalent.
    """

    name: str
    complaint: str
    build: Callable[[Path, Make], Setup]
    expect: Caught | None = None  # None: the run has to finish, and `holds`
    clear: str = ""
    holds: Property | None = None
    trl: Mapping[str, Any] | None = None
    more: frozenset[str] = frozenset()  # of "twice", "one-batch", "packed": what is measured besides

    def is_clear(self, line: str) -> bool:
        pattern = self.clear or (self.expect.says if self.expect else "")
        return bool(pattern) and re.search(pattern, line, re.IGNORECASE) is not None


def train_on(data: Path, base: Path, *more: str) -> tuple[str, ...]:
    return ("--data", str(data), "--base", str(base), "--name", "it", *QUICK, *more)


def pairs(count: int = 12) -> list[dict[str, Any]]:
    """Rows of different lengths, in columns that TRL knows too."""
    return [
        {"prompt": f"Where is parcel {n}?", "completion": " ".join([f"It is on van {n}."] * (1 + n % 3))}
        for n in range(count)
    ]


def talks(count: int = 12, turns: int = 1) -> list[dict[str, Any]]:
    """The same as conversations."""
    return [
        {
            "messages": [
                turn
                for t in range(turns)
                for turn in (
                    {"role": "user", "content": f"Where is parcel {n}, day {t}?"},
                    {"role": "assistant", "content": f"It is on van {n} by noon of day {t}."},
                )
            ]
        }
        for n in range(count)
    ]


def learned(row: Sequence[Sequence[int]]) -> list[int]:
    return [label for label in row[1] if label != IGNORED]


# --- properties: None where they hold, otherwise what is wrong


def stops(seen: Seen, setup: Setup) -> str | None:
    """Every row learns a word and, last of all, to stop."""
    if not seen.rows:
        return "no row was learned from"
    bare = sum(len(learned(row)) < 2 for row in seen.rows)
    if bare:
        return f"{bare} of {len(seen.rows)} rows learn no word of an answer"
    endless = sum(learned(row)[-1] not in seen.stops for row in seen.rows)
    return f"{endless} of {len(seen.rows)} rows never learn to stop" if endless else finite(seen, setup)


def finite(seen: Seen, setup: Setup) -> str | None:
    if not all(math.isfinite(loss) and loss > 0 for loss in seen.losses):
        return f"losses {[round(loss, 4) for loss in seen.losses]} were reported as if all were well"
    return None


def every_layer(seen: Seen, setup: Setup) -> str | None:
    """Each adapted module learned something, and each name is in each block."""
    still = [name for name, moved in seen.moved.items() if not moved]
    if still or not seen.moved:
        return f"{len(still)} of {len(seen.moved)} modules got no gradient"
    blocks = {tuple(re.findall(r"\.(\d+)\.", name)): name for name in seen.moved}
    return f"{len(blocks)} of {seen.layers} layers have an adapter" if len(blocks) < seen.layers else None


def all_answers(seen: Seen, setup: Setup) -> str | None:
    """What stands in the file is what is learned, and to stop after it."""
    lost = [text for text in setup.texts if not any(_flat(text) in _flat(found) for found in seen.texts)]
    if lost:
        return f"{len(lost)} of {len(setup.texts)} answers are not learned as they stand in the file"
    return stops(seen, setup)


def answers_only(seen: Seen, setup: Setup) -> str | None:
    """Answers are learned, questions are not."""
    asked = sum("parcel" in text for text in seen.texts)
    return f"{asked} rows learn their question too" if asked else all_answers(seen, setup)


def whole_base(seen: Seen, setup: Setup) -> str | None:
    return f"{seen.invented[0]} was drawn at random, not read" if seen.invented else None


def held_apart(seen: Seen, setup: Setup) -> str | None:
    return f"{seen.shared} prompts are trained on and held out" if seen.shared else None


def kept_apart(seen: Seen, setup: Setup) -> str | None:
    return f"a neighbour moves the loss of a row by {seen.apart:.2f} nats" if seen.apart > 1e-3 else None


def like_one_batch(seen: Seen, setup: Setup) -> str | None:
    assert seen.one_batch is not None
    off = abs(seen.losses[0] / seen.one_batch - 1)
    return f"accumulated loss is {off:.1e} off that of one batch" if off > 1e-6 else None


def same_again(seen: Seen, setup: Setup) -> str | None:
    return None if seen.digest == seen.again else "two runs of one seed gave two adapters"


def within_positions(limit: int) -> Property:
    def holds(seen: Seen, setup: Setup) -> str | None:
        longest = max(len(ids) for ids, _ in seen.rows)
        if longest > limit:
            return f"a row of {longest} tokens was trained on, the base has {limit} positions"
        return stops(seen, setup)

    return holds


def finished(seen: Seen, setup: Setup) -> str | None:
    """For faults that leave nothing to measure: to finish is to be wrong."""
    return "it finished without a word"


def _flat(text: str) -> str:
    return "".join(text.split())
