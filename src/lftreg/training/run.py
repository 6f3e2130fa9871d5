"""From a domain to a registered version: plan, prove, train, publish."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lftreg import __version__
from lftreg.errors import InvalidData, LftregError, UsageError
from lftreg.models.base import FoundBase, find_base
from lftreg.models.configs import plain_config
from lftreg.models.fresh import add_adapter
from lftreg.models.load import Loaded, load_base, load_tokenizer, stop_ids
from lftreg.models.targets import list_modules, resolve_targets
from lftreg.models.tasks import CAUSAL, CLASSIFY, LABELS, Task, length_limit, training_task, unit_of
from lftreg.objectives import Objective, make_objective
from lftreg.objectives.classify import labels_of
from lftreg.objectives.rows import Rows, data_digest
from lftreg.plugins.host import Host
from lftreg.plugins.types import SPLITS, Domain, Example, Split
from lftreg.registry import Draft, Registry, Run, Version
from lftreg.tensors import settle_header
from lftreg.training.curve import CURVE, draw
from lftreg.training.loop import Fitted, Listener, fit
from lftreg.training.noise import noisy_embeddings
from lftreg.training.settings import Settings, settings_from

CAUSAL_ONLY: dict[str, Any] = {"prompt_dropout": 0.0, "opening_weight": 1.0}
LIBRARIES = ("lftreg", "torch", "transformers", "peft", "accelerate", "tokenizers")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before a weight is read."""

    name: str
    domain: Domain
    base: FoundBase
    task: Task
    labels: tuple[str, ...]
    objective: Objective
    settings: Settings
    targets: tuple[str, ...]
    rows: Mapping[Split, Rows]
    data_digest: str
    notes: tuple[str, ...] = ()

    @property
    def examples(self) -> dict[str, int]:
        return {split: len(self.rows[split]) for split in SPLITS}

    @property
    def unit(self) -> str:
        """What the loss is counted by."""
        return unit_of(self.task.name)

    @property
    def left_out(self) -> int:
        return sum(rows.too_long for rows in self.rows.values())


def train(
    domain: str | Domain,
    *,
    name: str | None = None,
    base: str = "starter",
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = lambda event: None,
    trust_code: bool = False,
    **options: Any,
) -> Version:
    """Train an adapter on a domain and register it. `options` are those of `Settings`.

    `name` is the domain's where it is left out; `listen` hears of every step and validation;
    `trust_code` lets a base run Python of its own. Raises a subclass of LftregError, with nothing
    registered, where anything does not fit.
    """
    registry = registry or Registry()
    plan = make_plan(
        domain, name=name, base=base, registry=registry, host=host, trust_code=trust_code, **options
    )
    return run_plan(plan, registry, listen)


def make_plan(
    domain: str | Domain,
    *,
    name: str | None,
    base: str,
    registry: Registry,
    host: Host | None = None,
    trust_code: bool = False,
    **options: Any,
) -> Plan:
    """Read the data, tokenise it, choose settings and targets. Reads no weights, needs no GPU."""
    host = host or Host()
    source = host.domain(domain) if isinstance(domain, str) else domain
    registry.check_name(name or source.name)
    found = find_base(base, registry, trust_code=trust_code)
    config = found.config
    given = settings_from(options, source.defaults)
    examples = _examples(source, given.seed)
    everything = [example for rows in examples.values() for example in rows]
    task = training_task(config, labelled=any(example.label is not None for example in everything))
    labels = labels_of(everything) if task is CLASSIFY else ()
    given = _that_apply(given, task, options)
    objective = make_objective(
        task,
        load_tokenizer(found),
        stop_ids(found),
        prompt_dropout=given.prompt_dropout,
        opening_weight=given.opening_weight,
        labels=labels,
    )
    limit = length_limit(config, given.max_length)
    rows = {split: objective.encode(examples[split], limit, split) for split in SPLITS}
    settings = given.resolved(found.record.parameters, len(rows["train"]))
    notes: list[str] = []
    modules = list_modules(config, task, code=found.folder if found.code else None)
    targets = resolve_targets(modules, config["model_type"], settings.targets, host, tell=notes.append)
    return Plan(
        name=name or source.name,
        domain=source,
        base=found,
        task=task,
        labels=labels,
        objective=objective,
        settings=settings,
        targets=targets,
        rows=rows,
        data_digest=data_digest(examples),
        notes=tuple(notes),
    )


def run_plan(plan: Plan, registry: Registry, listen: Listener = lambda event: None) -> Version:
    """Load the base, train, and publish the best factors as a new version."""
    import torch

    registry.check_name(plan.name)
    started = time.monotonic()
    torch.manual_seed(plan.settings.seed)  # before the first number is drawn: a classifier's head is fresh
    loaded = load_base(
        plan.base, plan.settings.dtype, task=plan.task, labels=plan.labels, quantize=plan.settings.quantize
    )
    model = _with_adapter(loaded, plan)
    train_rows, validation = plan.rows["train"].rows, plan.rows["validation"].rows
    with noisy_embeddings(model, plan.settings.neftune):
        fitted = fit(model, plan.objective, train_rows, validation, plan.settings, listen)
    _check_alive(fitted, plan)
    return _publish(plan, model, fitted, time.monotonic() - started, registry)


def _that_apply(settings: Settings, task: Task, asked: Mapping[str, Any]) -> Settings:
    """Settings without those that only a causal model knows. Raises UsageError where a user asked for one."""
    if task is CAUSAL:
        return settings
    for name, neutral in CAUSAL_ONLY.items():
        if asked.get(name) not in (None, neutral):
            raise UsageError(
                f"--{name.replace('_', '-')} is for causal language models, and this base is a {task.words}",
                "leave it out",
            )
    return replace(settings, **CAUSAL_ONLY)


def _examples(source: Domain, seed: int) -> dict[Split, list[Example]]:
    examples: dict[Split, list[Example]] = {split: list(source.build(split, seed)) for split in SPLITS}
    for split in ("train", "validation"):
        if not examples[split]:
            raise InvalidData(f"domain {source.name!r} has no {split} rows", "it needs at least one")
    return examples


def _with_adapter(loaded: Loaded, plan: Plan) -> Any:
    """The base with fresh factors; only they require a gradient. The seed is set first."""
    import torch

    settings = plan.settings
    assert settings.alpha is not None
    torch.manual_seed(settings.seed)
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


def _check_alive(fitted: Fitted, plan: Plan) -> None:
    """An adapter whose second factor never left zero answers exactly as its base does."""
    second = [
        tensor for name, tensor in fitted.factors.items() if ".lora_B." in name or "embedding_B" in name
    ]
    if fitted.best_step and not any(tensor.any() for tensor in second):
        raise LftregError("no gradient reached the adapter", "report this with the base's name", code="dead")
    if not fitted.best_step:
        raise LftregError(
            f"validation loss never fell below the base's {fitted.losses['validation_before']:.3f}",
            f"nothing was registered; try a learning rate other than {plan.settings.lr:g}, or more data",
            code="no-improvement",
        )


def _publish(plan: Plan, model: Any, fitted: Fitted, seconds: float, registry: Registry) -> Version:
    from safetensors.torch import save_file

    run = Run(
        seed=plan.settings.seed,
        data_digest=plan.data_digest,
        settings=plan.settings.as_dict()
        | {"task": plan.task.name, "steps": len(fitted.steps), "best_step": fitted.best_step},
        libraries=_libraries(),
        losses=fitted.losses,
        examples=plan.examples,
        tokens=fitted.steps[-1].tokens,
        seconds=seconds,
    )
    curve = draw(f"{plan.name} on {plan.base.record.id}", fitted.steps, fitted.validations, plan.unit)
    metadata = {"format": "pt"} | ({LABELS: json.dumps(plan.labels)} if plan.labels else {})
    with tempfile.TemporaryDirectory(prefix="lftreg-") as folder:
        weights = Path(folder) / "adapter_model.safetensors"
        save_file(dict(sorted(fitted.factors.items())), weights, metadata=metadata)
        settle_header(weights)
        return registry.publish(
            Draft(
                name=plan.name,
                kind="trained",
                base=plan.base.record,
                weights=weights,
                config=plain_config(model.peft_config["default"], plan.base.record.id),
                domain=plan.domain.name,
                attachments={**plan.domain.attachments, CURVE: curve},
                run=run,
            )
        )


def _libraries() -> dict[str, str]:
    # lftreg by itself: run from a checkout it has no metadata.
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES if name != "lftreg"}
    return {"lftreg": __version__, **versions, "python": platform.python_version()}
