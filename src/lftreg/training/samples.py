"""A few questions, and what is answered before and after a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lftreg.models.answers import Decoding, answer
from lftreg.models.load import Loaded
from lftreg.models.tasks import CAUSAL, SEQ2SEQ
from lftreg.plugins.types import Message
from lftreg.training.plan import Plan

SAMPLES = "samples.json"
QUESTIONS = 3
DECODING = Decoding(max_tokens=64)  # greedy: the same model says the same


@dataclass(frozen=True, slots=True)
class Sample:
    """One question, and the answers of the base and of the adapter."""

    prompt: str
    before: str
    after: str


def questions(plan: Plan) -> tuple[tuple[Message, ...], ...]:
    """What a run is asked: the domain's own prompts, or the shortest held-out ones. Labels and masks have none."""
    if plan.task not in (CAUSAL, SEQ2SEQ):
        return ()
    if plan.domain.prompts:
        return tuple((Message("user", prompt),) for prompt in plan.domain.prompts[:QUESTIONS])
    asked = [
        tuple(example.messages[:-1])
        for example in plan.domain.build("validation", plan.settings.seed)
        if example.messages and example.messages[-1].role == "assistant"
    ]
    return tuple(sorted(asked, key=lambda turns: sum(len(turn.content) for turn in turns))[:QUESTIONS])


def answers(model: Any, loaded: Loaded, asked: Sequence[Sequence[Message]]) -> list[str]:
    """What a model says to each of the questions."""
    if not asked:
        return []
    training = model.training
    model.eval()
    try:
        return [generation.text for generation in answer(model, loaded, asked, DECODING)]
    finally:
        model.train(training)


def together(
    asked: Sequence[Sequence[Message]], before: Sequence[str], after: Sequence[str]
) -> tuple[Sample, ...]:
    return tuple(
        Sample(turns[-1].content, one, other) for turns, one, other in zip(asked, before, after, strict=True)
    )


def written(samples: Sequence[Sample]) -> bytes:
    """Samples as the file that is kept beside a version."""
    rows = [{"prompt": s.prompt, "before": s.before, "after": s.after} for s in samples]
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()


def read(content: bytes) -> tuple[Sample, ...]:
    return tuple(Sample(row["prompt"], row["before"], row["after"]) for row in json.loads(content))
