"""A registry of small random adapters over a small real base, and applications at an address of this machine."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import torch
import uvicorn
from peft import LoraConfig, get_peft_model
from starlette.types import ASGIApp

from lftreg.models.base import find_base
from lftreg.models.configs import plain_config
from lftreg.models.load import load_base
from lftreg.paths import Home
from lftreg.registry import WEIGHTS, Draft, Parent, Recipe, Registry, Run, Score, Version
from lftreg.training.events import Stepped, Validated
from lftreg.training.losses import LOSSES, Losses
from lftreg.training.samples import SAMPLES

EVIL = "<img src=x onerror=\"document.title='taken'\">"  # what a stranger's tag may hold
STEPS, VALIDATIONS = 60, (0, 20, 40, 60)


def publish(registry: Registry, base: Path, folder: Path, name: str, seed: int, **fields: Any) -> Version:
    """A random adapter that changes what the base says."""
    loaded = load_base(find_base(str(base), registry))
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    peft = get_peft_model(loaded.model, config)
    peft.save_pretrained(str(folder / name))
    plain = plain_config(peft.peft_config["default"], str(base))
    draft = Draft(name, "trained", loaded.base.record, folder / name / WEIGHTS, plain)
    return registry.publish(replace(draft, **fields))


def losses() -> bytes:
    """A curve as training writes it."""
    steps = [Stepped(at, STEPS, 4 - at / 30, 1e-3, 64 * at, float(at)) for at in range(1, STEPS + 1)]
    validations = [Validated(at, 4 - at / 40, at == VALIDATIONS[-1]) for at in VALIDATIONS]
    return Losses(steps, validations).to_bytes()


def stock(folder: Path, base: Path) -> Registry:
    """A registry of three: `alpha`, trained, scored and tagged by a stranger; `beta`; and `both`, made of them."""
    registry = Registry(Home(folder / "home"))
    run = Run(
        7, "d" * 64, {"data": "/srv/private/inbox.jsonl", "rank": 4}, {"torch": "2"},
        {"train_first": 4.0, "train_last": 2.0, "validation_before": 4.0, "validation_after": 2.5},
        {"train": 60, "validation": 8, "test": 8}, 3840, 12.0,
    )  # fmt: skip
    told = json.dumps([{"prompt": "Where is it?", "before": "Er.", "after": EVIL}]).encode()
    alpha = publish(
        registry, base, folder, "alpha", 1, run=run, domain="inbox", tags={"note": EVIL, "team": "desk"},
        attachments={LOSSES: losses(), SAMPLES: told},
    )  # fmt: skip
    beta = publish(registry, base, folder, "beta", 2)
    parents = (Parent(alpha.ref, alpha.digest, 0.7), Parent(beta.ref, beta.digest, 0.3))
    publish(registry, base, folder, "both", 3, kind="composed", recipe=Recipe("cat", {}, parents, 3e-8))
    registry.alias("alpha", "prod")
    metric = {
        "value": 8.0, "base": 12.0, "delta": -4.0, "ci95": [-5.0, -3.0], "p": 0.01, "mde": 1.0, "winner": "adapter",
        "n": 60, "better": "lower", "unit": "", "measurable": True, "note": None,
    }  # fmt: skip
    score = Score(
        alpha.digest, alpha.ref, alpha.base, "inbox", "e" * 64, {}, "f" * 64, 60, {"perplexity": metric}, {}, "",
        alpha.created_at,
    )  # fmt: skip
    registry.scores.add([(score, [])])
    return registry


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """An application at an address of this machine, until the end of the block."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        thread = threading.Thread(target=server.run, args=([taken],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(timeout=30)


def fetch(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (in lower case) and content of an answer, an error or not."""
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
    except HTTPError as error:
        answer = error
    with answer:
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()


def document(url: str, status: int = 200) -> Any:
    """The JSON that comes with a status."""
    found, _, content = fetch(url)
    assert found == status, (found, content)
    return json.loads(content)
