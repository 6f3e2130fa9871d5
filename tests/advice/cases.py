"""Runs with a fault put into them, and runs without: what a doctor has to tell apart.

Every case is a real run of `lftreg.training` on a small base that has learned something. The thresholds of
`lftreg.advice.symptoms` were set on seeds 0 to 2; tests and the benchmark use others.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lftreg.advice.reading import of_run
from lftreg.advice.signals import Signals
from lftreg.data import read_data
from lftreg.errors import LftregError
from lftreg.registry import Registry
from lftreg.training import Runs, make_plan, run_plan, train
from lftreg.training.events import Event, Stepped
from tests.advice.lessons import SUBJECTS, Lesson

USUAL: dict[str, Any] = {"rank": 4, "lr": 5e-3, "max_steps": 48}


@dataclass(frozen=True)
class Case:
    """A fault: what it is called when it is seen, the data, and the options that make it."""

    name: str
    expect: str
    lesson: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] | None = None  # it goes on from a run on this lesson
    stop: int | None = None  # the process is stopped after this step


def scrambled(dice: random.Random, n: int, prompt: str, response: str) -> tuple[str, str]:
    words = response.split()
    return "Where is it?", " ".join(dice.sample(words, len(words)))


def constant(dice: random.Random, n: int, prompt: str, response: str) -> tuple[str, str]:
    return "Where is it?", "It is here."


def shouted(dice: random.Random, n: int, prompt: str, response: str) -> tuple[str, str]:
    """Nothing of it is in what is held out."""
    return prompt, "".join(dice.sample("QWXZJKVBYPGH", 12))


def long_ones(share: float) -> Callable[[random.Random, int, str, str], tuple[str, str]]:
    def spoil(dice: random.Random, n: int, prompt: str, response: str) -> tuple[str, str]:
        return prompt, " ".join([response] * (4 if dice.random() < share else 1))

    return spoil


CASES = (
    Case("lr 0.9", "lr-too-high", options={"lr": 0.9}),
    Case("lr 0.3", "lr-too-high", options={"lr": 0.3}),
    Case("lr 0.2 at rank 32", "lr-too-high", options={"lr": 0.2, "rank": 32}),
    Case("lr 1e-9", "lr-too-low", options={"lr": 1e-9}),
    Case("lr 1e-6", "lr-too-low", options={"lr": 1e-6}),
    Case("lr 5e-5", "lr-too-low", options={"lr": 5e-5}),
    Case("alpha 1e30", "not-finite", options={"alpha": 1e30, "lr": 0.9}),
    Case("alpha 40000", "scale-out-of-range", options={"alpha": 4e4}),
    Case("alpha 0.001", "scale-out-of-range", options={"alpha": 1e-3}),
    Case("dropout 0.95", "dropout-too-high", options={"dropout": 0.95}),
    Case("NEFTune 500", "noise-too-high", options={"neftune": 500.0}),
    Case("2 steps", "too-few-steps", options={"max_steps": 2}),
    Case("6 steps", "too-few-steps", options={"max_steps": 6}),
    Case("all warm-up", "warm-up-too-long", options={"warmup": 1.0}),
    Case("lr 0.5 after a slow start", "diverged", options={"lr": 0.5, "warmup": 0.7, "patience": 20}),
    Case("one kind of layer", "partial-targets", options={"targets": "q_proj"}),
    Case("another kind of layer", "partial-targets", options={"targets": "down_proj"}),
    Case("half of the rows too long", "left-out", {"spoil": long_ones(0.5)}, {"max_length": 60}),
    Case("a fifth of the rows too long", "left-out", {"spoil": long_ones(0.2)}, {"max_length": 60}),
    Case("all rows equal", "same-rows", {"spoil": constant}),
    Case("answers at random", "contradictions", {"spoil": scrambled}),
    Case(
        "8 rows sixty times", "overfit", {"rows": 8},
        {"base": "starter", "max_steps": None, "epochs": 30, "patience": 99, "lr": 5e-3},
    ),
    Case("validation of another kind", "no-improvement", {"spoil": shouted}),
    Case("stopped", "interrupted", stop=20),
    Case(
        "other data after it", "forgetting", {"rows": 48}, {"rank": None, "lr": 1e-2, "max_steps": 60},
        after={"rows": 48},
    ),
)  # fmt: skip
HEALTHY: tuple[Mapping[str, Any], ...] = (
    {},
    {"rank": 16, "lr": 3e-3, "max_steps": 80},
    {"lr": 1e-2},
    {"batch_size": 2, "max_steps": 120},
    {"rank": 8, "lr": 3e-3, "max_steps": 72, "dropout": 0.05},
    {"batch_size": 4, "accumulate": 2},
    {"targets": "attention", "lr": 1e-2, "max_steps": 72},
    {"neftune": 5.0, "prompt_dropout": 0.2, "max_steps": 64},
    {"epochs": 5, "max_steps": None},
    {"packing": True, "opening_weight": 5.0},
)


class Pulled(BaseException):
    """The plug is pulled."""


def run_case(case: Case, base: Path, registry: Registry, seed: int) -> Signals:
    """Train, and read the signals back from what the run left."""
    subject = SUBJECTS[seed % len(SUBJECTS)]
    options = {**USUAL, **case.options, "seed": seed}
    if case.after is not None:
        before = Lesson(SUBJECTS[(seed + 1) % len(SUBJECTS)], seed=seed + 1, **case.after)
        lesson = Lesson(subject, seed=seed, **case.lesson)
        of_files(registry, before, "before", base, {**USUAL, "seed": seed})
        of_files(registry, lesson, "lessons", base, {**options, "continue_from": "before"})
        return newest(registry)

    def listen(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == case.stop:
            raise Pulled

    domain = Lesson(subject, seed=seed, **case.lesson).domain()
    with suppress(LftregError, Pulled):  # what is left of it is to be judged
        train(domain, registry=registry, listen=listen, **{"base": str(base), **options})
    return newest(registry)


def of_files(registry: Registry, lesson: Lesson, name: str, base: Path, options: Mapping[str, Any]) -> None:
    """Train on a file of rows, which another run finds again."""
    path = registry.home.root / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = [{"prompt": one.prompt, "response": one.response} for one in lesson.domain().build("train", 0)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    plan = make_plan(
        read_data([str(path)], name).domain, name=name, base=str(base), registry=registry,
        source={"data": [str(path)], "map": []}, **options,
    )  # fmt: skip
    run_plan(plan, registry)


def run_healthy(number: int, base: Path, registry: Registry, seed: int) -> Signals:
    """One of the healthy settings, on the data and with the order of a seed."""
    lesson = Lesson(SUBJECTS[seed % len(SUBJECTS)], rows=64 + 8 * (seed % 5), seed=seed)
    options = {**USUAL, **HEALTHY[number % len(HEALTHY)], "seed": seed}
    train(lesson.domain(), base=str(base), registry=registry, **options)
    return newest(registry)


def newest(registry: Registry) -> Signals:
    return of_run(Runs(registry.home).list()[0], registry)
