"""Which runs can share a base."""

from __future__ import annotations

from collections.abc import Hashable

from lftreg.models.targets import adapted_by
from lftreg.models.tasks import CAUSAL
from lftreg.training.plan import Plan


def shared_base(plan: Plan) -> Hashable | None:
    """What plans have to have in common to train together; None for one that has to have its base to itself.

    Rows share a line where a model answers with words, and a layer that is adapted has to see all of them: experts
    of a mixture are given some.
    """
    settings = plan.settings
    adapted = adapted_by(plan.targets, plan.modules)
    every = all(module.linear and not module.head and "expert" not in module.name for module in adapted)
    if settings.plain or settings.packing or plan.task is not CAUSAL or not every:
        return None
    return (plan.base.record.fingerprint, settings.dtype, settings.quantize, settings.gradient_checkpointing)
