"""Rules on how a run ended, and on signals that leave no doubt."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from lftreg.advice.mending import changed
from lftreg.advice.signals import Signals

CALMER = 10  # times less: the customary next try of a learning rate
ENDED = 0.99  # the share of answers that end in a stop token which is learned
DEAD = ("dead", "no-gradient")
BEFORE_ANY = "so early it is the base's weights or the labels, not the rate"
FIRST_STEP = "assert all(p.isfinite().all() for p in model.parameters())  # and labels other than -100"
JUDGED = (*DEAD, "no-improvement", "not-finite", "out-of-memory")  # errors that have a rule of their own


def not_finite(signals: Signals) -> str | None:
    """transformers logs a loss that is no number as 0; the norm of its gradient stays NaN."""
    if _code(signals) == "not-finite":
        return f"the loss or a gradient stopped being a number: {_message(signals)}"
    for point in signals.points:
        if not math.isfinite(point.loss) or (point.norm is not None and not math.isfinite(point.norm)):
            hidden = " although the logged loss is 0" if point.hidden else ""
            norm = "" if point.norm is None else f", gradient norm {point.norm:.3g}"
            first = f"; {BEFORE_ANY}" if _from_the_start(signals) else ""
            return f"loss {point.loss:.3g}{norm} at step {point.step}{hidden}: from there on nothing is learned{first}"
    checked = next((check for check in signals.checks if not math.isfinite(check.loss)), None)
    return None if checked is None else f"the validation loss is {checked.loss} at step {checked.step}"


def _from_the_start(signals: Signals) -> bool:
    """Whether another trainer's very first step was none already: before it no learning rate has done anything."""
    first = signals.points[0] if signals.points and signals.trainer == "transformers" else None
    return (
        first is not None
        and first.step == 1
        and not (math.isfinite(first.loss) and math.isfinite(first.norm or 0))
    )


def calmer(signals: Signals) -> Mapping[str, Any] | str:
    """A tenth of the learning rate, and numbers that hold more; no rate mends what was so from the first step on."""
    if _from_the_start(signals):
        return FIRST_STEP
    rate = signals.settings.get("lr") or signals.peak_rate
    changes: dict[str, Any] = {"lr": rate / CALMER} if rate else {}
    if signals.settings.get("alpha") and signals.settings["alpha"] > 64 * signals.settings["rank"]:
        changes["alpha"] = None
    return changes | {"dtype": "float32"}


def out_of_memory(signals: Signals) -> str | None:
    return f"memory ran out: {_message(signals)}" if _code(signals) == "out-of-memory" else None


def smaller(signals: Signals) -> Mapping[str, Any]:
    """What costs least comes first: time, then long rows, then precision of the base."""
    settings, facts = signals.settings, signals.facts
    rows = settings.get("batch_size", 1) * settings.get("accumulate", 1)
    if not settings.get("gradient_checkpointing"):
        return {"gradient_checkpointing": True}
    if settings.get("batch_size", 1) > 1:
        return {"batch_size": 1, "accumulate": rows}
    if facts.get("p95") and facts["p95"] < min(facts.get("longest", 0), facts.get("limit") or math.inf):
        return {"max_length": facts["p95"]}
    return {"quantize": "nf4"}


def nothing_learned(signals: Signals) -> str | None:
    """Every label is masked: a prompt that fills the whole length, or a mask that never opens."""
    if len(signals.points) < 2 or any(point.loss for point in signals.points):
        return None
    if any(norm for norm in signals.norms):
        return None
    return f"the loss is exactly 0 in all {len(signals.points)} logged steps: no token of any row is learned"


def longer_rows(signals: Signals) -> Mapping[str, Any]:
    return {"max_length": 2 * signals.settings.get("max_length", 1024)}


def dead(signals: Signals) -> str | None:
    if _code(signals) in DEAD:
        return f"no gradient reaches the adapter: {_message(signals)}"
    norms = signals.norms
    if len(norms) < 2 or any(norms):
        return None
    return f"the gradient norm is exactly 0 in all {len(norms)} logged steps: the adapter learns nothing"


def other_targets(signals: Signals) -> Mapping[str, Any] | str:
    if signals.trainer == "transformers":
        return (
            "model.enable_input_require_grads()  # and a fresh adapter: get_peft_model(base, LoraConfig(...))"
        )
    return {"targets": None}


def never_stops(signals: Signals) -> str | None:
    ended = signals.facts.get("ended")
    if ended is None or ended >= ENDED:
        return None
    return f"only {ended:.1%} of the answers end in a stop token that is learned: answers will not stop"


def look_at_rows(signals: Signals) -> str:
    data = [word for at, word in enumerate(signals.retry) if signals.retry[at - 1] == "--data"]
    if data:
        return shlex.join(["lftreg", "data", "check", *data])
    return f"{changed(signals.retry, {})} --dry-run" if signals.retry else changed((), {})


def failed(signals: Signals) -> str | None:
    code = _code(signals)
    return f"it ended with an error ({code}): {_message(signals)}" if code and code not in JUDGED else None


def again(signals: Signals) -> str:
    return changed(signals.retry, {})


def interrupted(signals: Signals) -> str | None:
    if signals.status != "interrupted":
        return None
    return f"it was stopped after step {signals.steps} of {signals.planned}, and no adapter was made"


def resume(signals: Signals) -> str:
    if signals.trainer == "transformers":
        return "trainer.train(resume_from_checkpoint=True)"
    return f"lftreg train {signals.run} --resume"


def memory_ran_out(signals: Signals) -> str | None:
    if not signals.shrunk:
        return None
    last = signals.shrunk[-1]
    return f"memory ran out at step {last['step']}, and {last['rows']} rows at once were tried from there on"


def fewer_at_once(signals: Signals) -> Mapping[str, Any]:
    rows = signals.shrunk[-1]["rows"]
    whole = signals.settings.get("batch_size", rows) * signals.settings.get("accumulate", 1)
    return {"batch_size": rows, "accumulate": -(-whole // rows)}


def running(signals: Signals) -> str | None:
    if signals.status != "running":
        return None
    return f"it is at step {signals.steps} of {signals.planned}; what is told is of what came so far"


def wait(signals: Signals) -> str:
    return f"lftreg doctor {signals.run}"


def _code(signals: Signals) -> str | None:
    return None if signals.error is None else str(signals.error["code"])


def _message(signals: Signals) -> str:
    return "" if signals.error is None else str(signals.error["message"])
