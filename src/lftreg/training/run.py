"""From a domain to a registered version: plan, prove, train, publish."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lftreg import __version__
from lftreg.errors import LftregError, StorageError
from lftreg.models.configs import plain_config
from lftreg.models.fresh import add_adapter
from lftreg.models.load import Loaded, load_base
from lftreg.models.sound import check_weights
from lftreg.models.tasks import LABELS
from lftreg.objectives.packing import check_packing
from lftreg.plugins.host import Host
from lftreg.plugins.types import Domain
from lftreg.registry import Draft, Registry, Run, Version
from lftreg.tensors import settle_header
from lftreg.training import memory, samples
from lftreg.training.checkpoint import Keeper
from lftreg.training.continuing import fill
from lftreg.training.curve import CURVE, draw
from lftreg.training.events import Listener, Stopping
from lftreg.training.forecast import money
from lftreg.training.learner import NotFinite, loss_of
from lftreg.training.loop import fit
from lftreg.training.losses import LOSSES, Losses
from lftreg.training.noise import noisy_embeddings
from lftreg.training.plan import Plan, make_plan
from lftreg.training.processes import by_first, make_accelerator, shares_base
from lftreg.training.resuming import check_same, plan_again
from lftreg.training.runs import Request, RunFolder, Runs, outcome_of
from lftreg.training.state import Fitted
from lftreg.training.stopping import Stop, stopping
from lftreg.training.trackers import check_trackers, tracking

LIBRARIES = ("lftreg", "torch", "transformers", "peft", "accelerate", "tokenizers")
OLD = ("old_before", "old_after")  # the validation loss of the data that a parent was trained on
BEFORE = "samples-before.json"  # in a run's folder: what the base said


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What there is to publish."""

    fitted: Fitted
    config: Mapping[str, Any]
    samples: tuple[samples.Sample, ...]
    old: tuple[float, float] | None = None


def train(
    domain: str | Domain,
    *,
    name: str | None = None,
    base: str = "starter",
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = lambda event: None,
    trust_code: bool = False,
    resume: bool = False,
    continue_from: str | None = None,
    replay: float | None = None,
    log_to: Sequence[str] = (),
    **options: Any,
) -> Version:
    """Train an adapter on a domain and register it. `options` are those of `Settings`.

    `name` is the domain's where it is left out; `listen` hears of every step and validation;
    `trust_code` lets a base run Python of its own; `resume` goes on with the run of this name that was
    interrupted last, by its own settings; `continue_from` is a REF whose factors are trained on, with a share
    `replay` of its rows among the new ones; `log_to` names trackers, such as "tensorboard". Raises a subclass of
    LftregError, with nothing registered, where anything does not fit, and Interrupted where Ctrl-C or SIGTERM
    stopped it.
    """
    check_trackers(log_to)
    registry = registry or Registry()
    if resume:
        run = Runs(registry.home).to_resume(name or (domain if isinstance(domain, str) else domain.name))
        asked = {"continue_from": continue_from, "replay": replay, **options}
        plan = plan_again(run, domain, registry, host, **asked)
        return run_plan(plan, registry, listen, run, log_to=log_to)
    plan = make_plan(
        domain, name=name, base=base, registry=registry, host=host, trust_code=trust_code,
        continue_from=continue_from, replay=replay, **options,
    )  # fmt: skip
    return run_plan(plan, registry, listen, log_to=log_to)


def run_plan(
    plan: Plan,
    registry: Registry,
    listen: Listener = lambda event: None,
    run: RunFolder | None = None,
    *,
    save_every: int | None = None,
    log_to: Sequence[str] = (),
    price_per_hour: float | None = None,
) -> Version:
    """Load the base, train, and publish the best factors as a new version.

    With `run` an earlier run goes on from its newest checkpoint: the plan has to be the same. `save_every` saves
    after so many steps; it is a matter of time where it is left out. `log_to` names trackers; `price_per_hour` is
    what the machine costs in US dollars, by default what the table of devices says. Of several processes the first
    one writes, all of them return the version.
    """
    check_trackers(log_to)
    registry.check_name(plan.name)
    accelerator = make_accelerator()
    if run is None:
        run = by_first(accelerator, lambda: Runs(registry.home).begin(request_of(plan)))
    else:
        check_same(plan, run.request)
    if not run.path.is_dir():
        raise StorageError(
            f"this process does not see {run.path}",
            "all machines of a run need one home, on a file system they share",
        )
    with _holding(run, accelerator), memory.told():
        published = by_first(accelerator, lambda: _published(run, plan, registry))
        if published is None:
            heard = listen if accelerator.is_main_process else lambda event: None
            patient = accelerator.num_processes > 1

            def noted(number: int) -> None:
                heard(Stopping(number, again=not patient))

            # From here on, as libraries that are being loaded may swallow a KeyboardInterrupt.
            with (
                stopping(noted, patient) as stop,
                tracking(log_to, run.id, plan, registry.home, heard) as tracked,
            ):
                outcome = _fit(plan, run, accelerator, tracked, save_every, stop)
            published = by_first(
                accelerator,
                lambda: _publish(plan, run, outcome, registry, price_per_hour, accelerator.num_processes),
            )
        if accelerator.is_main_process:
            run.close({"ref": published.ref, "digest": published.digest})
        return published


def request_of(plan: Plan) -> Request:
    """What is written down of a plan, so that another process can take it up."""
    import torch

    return Request(
        name=plan.name,
        base=plan.base.record.id,
        fingerprint=plan.base.record.fingerprint,
        data_digest=plan.data_digest,
        settings=plan.settings.as_dict(),
        libraries=libraries(),
        threads=torch.get_num_threads(),
        trust_code=plan.base.code,
        source={**plan.source, **_continued(plan)},
    )


def _continued(plan: Plan) -> dict[str, Any]:
    """What a run goes on from, so that it can be found again."""
    parent = plan.parent
    if parent is None:
        return {}
    return {"continue_from": parent.version.ref, "replay": parent.replay}


def _fit(
    plan: Plan, run: RunFolder, accelerator: Any, listen: Listener, save_every: int | None, stop: Stop
) -> _Outcome:
    """Train, and ask the questions before and after."""
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    settings = plan.settings
    torch.set_num_threads(run.request.threads)
    torch.manual_seed(settings.seed)  # before the first number is drawn: a classifier's head is fresh
    loaded = load_base(
        plan.base, settings.dtype, task=plan.task, labels=plan.labels, quantize=settings.quantize
    )
    torch.manual_seed(settings.seed)
    model = _with_adapter(loaded, plan)
    rows, validation = plan.rows["train"].rows, plan.rows["validation"].rows
    if settings.packing:
        check_packing(model)
    if plan.parent is not None:
        fill(model, load_file(plan.parent.weights), plan.parent.version.ref)
    asked = () if shares_base(accelerator) else samples.questions(plan)
    before = by_first(accelerator, lambda: _before(run, model, loaded, asked))
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
    _check_alive(fitted, plan)
    set_peft_model_state_dict(model, fitted.factors)
    after = by_first(accelerator, lambda: samples.answers(model, loaded, asked))
    config = plain_config(model.peft_config["default"], plan.base.record.id)
    old_after = loss_of(model, plan.objective, plan.old, settings, accelerator)
    old = None if old_before is None or old_after is None else (old_before, old_after)
    return _Outcome(fitted, config, samples.together(asked, before, after), old)


def _with_adapter(loaded: Loaded, plan: Plan) -> Any:
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


def _before(run: RunFolder, model: Any, loaded: Loaded, asked: Sequence[Any]) -> list[str]:
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


@contextmanager
def _holding(run: RunFolder, accelerator: Any) -> Iterator[None]:
    """Hold a run's lock, and write down how it ended. A run that was stopped has no end yet."""
    if not accelerator.is_main_process:
        yield
        return
    with run.held():
        run.reopen()
        try:
            yield
        except BaseException as error:
            outcome = outcome_of(error)
            if outcome is not None:
                run.close(outcome)
            raise


def _published(run: RunFolder, plan: Plan, registry: Registry) -> Version | None:
    """The version that this very run published before it was killed, if it came so far."""
    for version in registry.list(name=plan.name, all_versions=True):
        if version.run is not None and version.run.settings.get("run") == run.id:
            return version
    return None


def _check_alive(fitted: Fitted, plan: Plan) -> None:
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


def _publish(
    plan: Plan,
    run: RunFolder,
    outcome: _Outcome,
    registry: Registry,
    price_per_hour: float | None,
    processes: int,
) -> Version:
    from safetensors.torch import save_file

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
            "cost": money(fitted.seconds, price_per_hour, processes),
            "parent": None if plan.parent is None else plan.parent.told,
        },
        libraries=libraries(),
        losses=fitted.losses | ({} if outcome.old is None else dict(zip(OLD, outcome.old, strict=True))),
        examples=plan.examples,
        tokens=fitted.steps[-1].tokens,
        seconds=fitted.seconds,
    )
    curve = draw(f"{plan.name} on {plan.base.record.id}", fitted.steps, fitted.validations, plan.unit)
    losses = Losses(fitted.steps, fitted.validations, plan.unit)
    attachments = {**plan.domain.attachments, CURVE: curve, LOSSES: losses.to_bytes()}
    if outcome.samples:
        attachments[samples.SAMPLES] = samples.written(outcome.samples)
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
                config=outcome.config,
                domain=plan.domain.name,
                attachments=attachments,
                run=record,
            )
        )


def libraries() -> dict[str, str]:
    """The versions of everything that a run's numbers depend on."""
    # lftreg by itself: run from a checkout it has no metadata.
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES if name != "lftreg"}
    return {"lftreg": __version__, **versions, "python": platform.python_version()}
