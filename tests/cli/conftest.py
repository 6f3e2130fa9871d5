"""The real command in real processes, and a registry with something in it.

A process is a fork of one that has the libraries, where that cannot be told from one that is started anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from safetensors.numpy import save_file

from lftreg.registry.records import Base, Draft, Parent, Recipe, Run, Version
from tests import forks

if TYPE_CHECKING:
    from lftreg.registry import Registry

BASE = Base("ab" * 32, "starter", "llama", 12_600_000)
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as the one JSON document it has to be."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """stderr as the one JSON document it has to be."""
        error: dict[str, Any] = json.loads(self.err)["error"]
        assert set(error) == {"code", "message", "hint"}
        return error


Lftreg = Callable[..., Done]


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing of the person who runs the tests is read."""
    theirs = ("NO_COLOR", "FORCE_", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return kept | {
        "LFTREG_HOME": str(home),
        "XDG_CONFIG_HOME": str(tmp_path / "user"),
        "OMP_NUM_THREADS": "1",
        "TERM": "xterm-256color",
    }


@pytest.fixture
def lftreg(environment: dict[str, str], tmp_path: Path) -> Lftreg:
    """Run `lftreg` with words, and variables of the environment as keywords."""

    def run(*words: str, code: int | None = 0, cwd: Path = tmp_path, **variables: str) -> Done:
        everything = environment | variables
        if forks.are_told_from_new(everything):
            done = subprocess.run(
                [sys.executable, "-m", "lftreg", *words],
                env=everything,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=False,
                timeout=120,
            )
        else:
            done = forks.lftreg(*words, environment=everything, folder=cwd)
        if code is not None:
            assert done.returncode == code, done.stderr or done.stdout
        return Done(done.returncode, done.stdout, done.stderr)

    return run


Publish = Callable[..., Version]


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Publish:
    """Put a small adapter into the registry; `seed` makes its content."""

    def put(name: str, *, seed: int = 0, **fields: Any) -> Version:
        draw = numpy.random.default_rng(seed)
        stem = "base_model.model.model.layers.0.self_attn.q_proj"
        weights = tmp_path / f"{name}-{seed}.safetensors"
        save_file(
            {
                f"{stem}.lora_A.weight": draw.normal(size=(4, 8)).astype(numpy.float32),
                f"{stem}.lora_B.weight": draw.normal(size=(8, 4)).astype(numpy.float32),
            },
            weights,
        )
        given: dict[str, Any] = {"kind": "trained", "base": BASE, "config": CONFIG} | fields
        return registry.publish(Draft(name=name, weights=weights, **given))

    return put


@pytest.fixture
def desk(publish: Publish) -> Version:
    """Two trained adapters, and a composition of them called advisor_desk."""
    support = publish("support", seed=1, domain="customer_support", run=RUN)
    finance = publish("finance", seed=2, domain="financial_advisor")
    recipe = Recipe(
        "cat", {}, (Parent(support.ref, support.digest, 0.7), Parent(finance.ref, finance.digest, 0.3)), 2e-8
    )
    return publish("advisor_desk", seed=3, kind="composed", recipe=recipe)


RUN = Run(
    seed=0,
    data_digest="cd" * 32,
    settings={"rank": 4, "lr": 3e-3},
    libraries={"torch": "2.13.0"},
    losses={"train_first": 4.0, "train_last": 0.5, "validation_before": 3.9, "validation_after": 0.31},
    examples={"train": 600, "validation": 100, "test": 120},
    tokens=36_000,
    seconds=58.5,
)
