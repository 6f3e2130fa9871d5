"""A run that has its base to itself: PEFT's own model, with as many processes as there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lftreg.models.configs import plain_config
from lftreg.models.fresh import add_adapter
from lftreg.models.load import Loaded, load_base
from lftreg.models.sound import check_weights
from lftreg.objectives.packing import check_packing
from lftreg.training import samples
from lftreg.training.checkpoint import Keeper
from lftreg.training.continuing import fill
from lftreg.training.events import Listener
from lftreg.training.learner import NotFinite, loss_of
from lftreg.training.loop import fit
from lftreg.training.noise import noisy_embeddings
from lftreg.training.plan import Plan
from lftreg.training.processes import by_first, shares_base
from lftreg.training.publish import Outcome, check_alive
from lftreg.training.runs import RunFolder
from lftreg.training.stopping import Stop

BEFORE = "samples-before.json"  # in a run's folder: what the base said


def fit_by_itself(
    plan: Plan, run: RunFolder, accelerator: Any, listen: Listener, save_every: int | None, stop: Stop
) -> Outcome:
    """Train, and ask the questions before and after."""
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    settings = plan.settings
    torch.set_num_threads(run.request.threads)
    loaded, model = fresh(plan)
    rows, validation = plan.rows["train"].rows, plan.rows["validation"].rows
    if plan.parent is not None:
        fill(model, load_file(plan.parent.weights), plan.parent.version.ref)
    asked = () if shares_base(accelerator) else samples.questions(plan)
    before = by_first(accelerator, lambda: said_before(run, model, loaded, asked))
    old_before = loss_of(model, plan.objective, plan.old, settings, accelerator)
    if accelerator.num_processes > 1:  # each process has rows of its own, and so noise and dropout of its own
        torch.manual_seed(settings.seed + 1000 * accelerator.process_index)

    with noisy_embeddings(model, settings.neftune):
        try:
            fitted = fit(
                model, plan.objective, rows, validation, settings, listen,
                accelerator=accelerator, keeper=Keeper(run.path, save_every), stop=stop,
            )  # fmt: skip
        except NotFinite:
            check_weights(model, plan.base.record.id)  # then it is nobody's learning rate
            raise
    check_alive(fitted, plan)
    set_peft_model_state_dict(model, fitted.factors)
    after = by_first(accelerator, lambda: samples.answers(model, loaded, asked))
    config = plain_config(model.peft_config["default"], plan.base.record.id)
    old_after = loss_of(model, plan.objective, plan.old, settings, accelerator)
    old = None if old_before is None or old_after is None else (old_before, old_after)
    return Outcome(fitted, config, samples.together(asked, before, after), old)


def fresh(plan: Plan) -> tuple[Loaded, Any]:
    """A base for one run alone, and PEFT's model of it with fresh factors. Torch's generator begins at the seed."""
    import torch

    settings = plan.settings
    torch.manual_seed(settings.seed)  # before the first number is drawn: a classifier's head is fresh
    loaded = load_base(
        plan.base, settings.dtype, task=plan.task, labels=plan.labels, quantize=settings.quantize
    )
    torch.manual_seed(settings.seed)
    model = with_adapter(loaded, plan)
    if settings.packing:
        check_packing(model)
    return loaded, model


def with_adapter(loaded: Loaded, plan: Plan) -> Any:
    """The base with fresh factors; only they require a gradient."""
    settings = plan.settings
    assert settings.alpha is not None
    return add_adapter(
        loaded.model,
        plan.task,
        plan.targets,
        rank=settings.rank,
        alpha=settings.alpha,
        dropout=settings.dropout,
        heads=loaded.fresh,
        gradient_checkpointing=settings.gradient_checkpointing,
    )


def said_before(run: RunFolder, model: Any, loaded: Loaded, asked: Sequence[Any]) -> list[str]:
    """What the base says: an adapter that was not trained yet changes nothing. Kept for a run that goes on."""
    place = run.path / BEFORE
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
        if isinstance(said, list) and len(said) == len(asked):
            return said
    except (OSError, ValueError):
        pass
    said = samples.answers(model, loaded, asked)
    place.write_text(json.dumps(said), encoding="utf-8")
    return said
