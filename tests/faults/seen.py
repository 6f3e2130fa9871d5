"""A case put to lftreg, by its command; and what a finished run did, looked at from outside."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lftreg.registry import WEIGHTS, Registry
from tests.faults.kinds import Case, Seen, Setup, learned


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and the error it told of. `seen` is of a run that finished."""

    exit: int
    code: str = ""
    message: str = ""
    hint: str = ""
    seen: Seen | None = None


def command(*words: str) -> tuple[int, str, str]:
    """`lftreg WORDS --json` in this process: its exit code, stdout and stderr."""
    from lftreg.cli.main import _run

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = _run([*words, "--json"])
    return code, out.getvalue(), err.getvalue()


def put_to_lftreg(case: Case, setup: Setup, registry: Registry, *more: str) -> Ended:
    """Train."""
    packing = ["--packing"] if "packed" in case.more else []
    code, _, err = command("train", *setup.words, *packing, *more)
    if code:
        error = json.loads(err.splitlines()[-1] if err.count("{") < 2 else err)["error"]
        return Ended(code, error["code"], error["message"], error["hint"] or "")
    return Ended(0, seen=None if more or setup.data is None else look(case, setup, registry))


def look(case: Case, setup: Setup, registry: Registry) -> Seen:
    """What the newest version of `it` was made from, and what it holds."""
    from safetensors.torch import load_file

    version = registry.list(name="it")[0]
    assert version.run is not None
    losses = [version.run.losses["train_first"], version.run.losses["train_last"]]
    plan = _plan(setup, registry)
    rows = plan.rows["train"].rows
    everything = [row for split in plan.rows.values() for row in split.rows]
    chat = plan.objective.chat
    factors = load_file(registry.file(version, WEIGHTS))
    second = {name.partition(".lora_B")[0]: t for name, t in factors.items() if ".lora_B" in name}
    again, one_batch = "", None
    if "twice" in case.more:
        assert command("train", *setup.words)[0] == 0
        again = registry.list(name="it")[0].digest
    if "one-batch" in case.more:
        assert command("train", *setup.words, "--batch-size", "64", "--accumulate", "1")[0] == 0
        run = registry.list(name="it")[0].run
        assert run is not None
        one_batch = run.losses["train_first"]
    config = plan.base.config
    return Seen(
        losses=losses,
        rows=[(row.ids, row.labels) for row in rows],
        texts=[chat.tokenizer.decode(learned((r.ids, r.labels))) for r in everything],
        stops=sorted(chat.stop_ids),
        moved={name: bool(tensor.any()) for name, tensor in second.items()},
        layers=config.get("num_hidden_layers") or config["n_layer"],
        digest=version.digest,
        shared=_shared(setup),
        apart=_apart(setup, registry) if "packed" in case.more else 0.0,
        one_batch=one_batch,
        again=again,
    )


def _plan(setup: Setup, registry: Registry) -> Any:
    from lftreg.data import domain_from_files
    from lftreg.training import make_plan

    assert setup.data is not None
    length = _option(setup.words, "--max-length")
    return make_plan(
        domain_from_files([setup.data], "it"), name="it", base=str(setup.base), registry=registry,
        max_length=int(length) if length else None,
    )  # fmt: skip


def _option(words: Sequence[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


def _shared(setup: Setup) -> int:
    from lftreg.data import read_data

    assert setup.data is not None
    found = read_data([setup.data]).examples
    trained = {example.prompt for example in found["train"]}
    return sum(example.prompt in trained for split in ("validation", "test") for example in found[split])


def _apart(setup: Setup, registry: Registry) -> float:
    """How far the losses of packed rows are from those of the same rows alone."""
    import torch

    from lftreg.models.load import load_base
    from lftreg.objectives import make_objective

    plan = _plan(setup, registry)
    loaded = load_base(plan.base)
    packed = make_objective(plan.task, loaded.tokenizer, room=256)
    with torch.no_grad():
        rows = plan.rows["train"].rows
        far = packed.losses(loaded.model, rows) - plan.objective.losses(loaded.model, rows)
    return float(far.abs().max())


def registry_at(home: Path) -> Registry:
    from lftreg.paths import Home

    return Registry(Home(home))
