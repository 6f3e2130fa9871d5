"""From a run that has ended to a registered version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lftreg.errors import LftregError, cannot_write
from lftreg.models.libraries import libraries
from lftreg.models.saving import save_tensors
from lftreg.models.tasks import LABELS
from lftreg.registry import Draft, Registry, Run, Version
from lftreg.tensors import settle_header
from lftreg.training import samples
from lftreg.training.curve import CURVE, draw
from lftreg.training.forecast import money
from lftreg.training.journal import read_journal
from lftreg.training.losses import LOSSES, Losses
from lftreg.training.plan import Plan
from lftreg.training.runs import RunFolder
from lftreg.training.state import Fitted

OLD = ("old_before", "old_after")  # the validation loss of the data that a parent was trained on


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is to publish."""

    fitted: Fitted
    config: Mapping[str, Any]
    samples: tuple[samples.Sample, ...]
    old: tuple[float, float] | None = None


def published(run: RunFolder, plan: Plan, registry: Registry) -> Version | None:
    """The version that this very run published before it was killed, if it came so far."""
    for version in registry.list(name=plan.name, all_versions=True):
        if version.run is not None and version.run.settings.get("run") == run.id:
            return version
    return None


def check_alive(fitted: Fitted, plan: Plan) -> None:
    """An adapter whose second factor never left zero answers exactly as its base does."""
    second = [
        tensor for name, tensor in fitted.factors.items() if ".lora_B." in name or "embedding_B" in name
    ]
    if fitted.best_step and not any(tensor.any() for tensor in second):
        raise LftregError("no gradient reached the adapter", "report this with the base's name", code="dead")
    if not fitted.best_step:
        what = "the base's" if plan.parent is None else f"that of {plan.parent.version.ref},"
        raise LftregError(
            f"validation loss never fell below {what} {fitted.losses['validation_before']:.3f}",
            f"nothing was registered; try a learning rate other than {plan.settings.lr:g}, or more data",
            code="no-improvement",
        )


def publish(
    plan: Plan,
    run: RunFolder,
    outcome: Outcome,
    registry: Registry,
    price_per_hour: float | None,
    machines: float,
    *,
    sweep: Mapping[str, Any] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> Version:
    """Register what a run left. `machines` is how many it had to itself: less than one where it shared one.

    `sweep` tells of the study that found its settings, and `beside` are more attachments.
    """
    fitted = outcome.fitted
    record = Run(
        seed=plan.settings.seed,
        data_digest=plan.data_digest,
        settings=plan.settings.as_dict()
        | {
            "task": plan.task.name,
            "steps": len(fitted.steps),
            "best_step": fitted.best_step,
            "memory": fitted.steps[-1].memory,
            "run": run.id,
            "source": dict(plan.source),
            "cost": money(fitted.seconds, price_per_hour, machines),
            "parent": None if plan.parent is None else plan.parent.told,
        }
        | ({} if sweep is None else {"sweep": dict(sweep)}),
        libraries=libraries(),
        losses=fitted.losses | ({} if outcome.old is None else dict(zip(OLD, outcome.old, strict=True))),
        examples=plan.examples,
        tokens=fitted.steps[-1].tokens,
        seconds=fitted.seconds,
    )
    curve = draw(f"{plan.name} on {plan.base.record.id}", fitted.steps, fitted.validations, plan.unit)
    shrunk = [asdict(event) for event in read_journal(run.path).shrunk]
    facts = {**run.request.facts, "shrunk": shrunk}
    losses = Losses(fitted.steps, fitted.validations, plan.unit, facts)
    attachments = {**plan.domain.attachments, CURVE: curve, LOSSES: losses.to_bytes(), **(beside or {})}
    if outcome.samples:
        attachments[samples.SAMPLES] = samples.written(outcome.samples)
    metadata = {"format": "pt"} | ({LABELS: json.dumps(plan.labels)} if plan.labels else {})
    with _weights(fitted, metadata) as weights:
        return registry.publish(
            Draft(
                name=plan.name,
                kind="trained",
                base=plan.base.record,
                weights=weights,
                config=outcome.config,
                domain=plan.domain.name,
                attachments=attachments,
                run=record,
            )
        )


@contextmanager
def _weights(fitted: Fitted, metadata: Mapping[str, str]) -> Iterator[Path]:
    """The best factors in a file, for a while."""
    try:
        with tempfile.TemporaryDirectory(prefix="lftreg-") as folder:
            weights = Path(folder) / "adapter_model.safetensors"
            save_tensors(dict(sorted(fitted.factors.items())), weights, metadata)
            settle_header(weights)
            yield weights
    except OSError as error:
        raise cannot_write(error.filename or "the adapter", error) from error
