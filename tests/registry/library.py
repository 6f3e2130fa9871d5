"""A small registry with some of everything that versions are found by, and what is known of each, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from sqlalchemy import update

from lftreg.registry import Base, Draft, Parent, Recipe, Registry, Run, Score, Version
from lftreg.registry import schema as t
from lftreg.registry.words import split

STARTER = Base("f" * 64, "starter", "llama", 15_000_000)
LARGE = Base("e" * 64, "org/Large-7B", "llama", 7_000_000_000)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Known:
    """A version as it stands in the registry, and the figures that have been measured of it."""

    version: Version
    figures: dict[str, float]
    words: frozenset[str]  # what it is found by

    def values(self, field: str) -> list[Any]:
        """What it has of a field; nothing where it has none."""
        v = self.version
        if field.startswith("tag."):
            return [value for key, value in v.tags.items() if key == field[4:]]
        own: dict[str, Any] = {
            "name": v.name, "version": v.number, "kind": v.kind, "domain": v.domain, "base": v.base.id,
            "rank": v.rank, "alpha": v.alpha, "parameters": v.trainable_parameters, "bytes": v.bytes,
            "created": v.created_at, "method": v.recipe and v.recipe.method, "digest": v.digest,
        }  # fmt: skip
        if field == "alias":
            return list(v.aliases)
        found = own.get(field, self.figures.get(field))
        return [] if found is None else [found]


def fill(registry: Registry, folder: Path) -> None:
    """Fourteen versions over two bases, one of them in the bin; a day lies between each and the next."""
    names = [
        "care",
        "care",
        "desk-tone",
        "care",
        "sales",
        "desk-tone",
        "legal_1.0",
        "care",
        "mix",
        "mix",
        "sales",
    ]
    for n, name in enumerate([*names, "twin", "care", "gone"]):
        run = Run(n, "d" * 64, {}, {}, {"validation_after": n % 5 + 0.5}, {"train": 9}, 100, 1.0)
        mixed = name == "mix"
        recipe = Recipe("ties" if n % 2 else "linear", {}, (Parent("care@1", "a" * 64, 1.0),))
        tags = [{}, {"team": "care"}, {"team": "Desk 100%", "stage": "gold"}, {"stage": "9", "a b": "ü_x"}][
            n % 4
        ]
        card = {"README.md": f"Answers refunds in a calm tone, number {n}.".encode()} if n % 3 == 0 else {}
        registry.publish(
            Draft(
                name,
                "composed" if mixed else ("imported" if name == "sales" else "trained"),
                LARGE if n % 3 == 1 else STARTER,
                _weights(folder, 2 if name == "twin" else n),
                {
                    "peft_type": "LORA",
                    "r": 4 if name == "twin" else 2 ** (n % 4),
                    "lora_alpha": 8,
                    "target_modules": ["q"],
                },
                domain=[None, "support", "faq"][n % 3],
                tags=tags,
                attachments=card,
                run=None if mixed else run,
                recipe=recipe if mixed else None,
            )
        )
    with registry._writing() as connection:
        for n in range(14):
            at = (BEGAN + timedelta(days=n, hours=n)).replace(tzinfo=None)
            connection.execute(update(t.versions).where(t.versions.c.id == n + 1).values(created_at=at))
    for ref, alias in (("care@2", "prod"), ("care@2", "best"), ("care", "next"), ("sales@1", "prod")):
        registry.alias(ref, alias)
    versions = registry.list(all_versions=True)
    for n, version in enumerate(reversed(versions)):
        for suite in [[], ["faq"], ["faq", "my suite.jsonl"], ["my suite.jsonl", "faq", "faq"]][n % 4]:
            _score(registry, version, suite, {"bleu": n * 7 % 60 / 2, "exact_match": n % 3 / 2})
    registry.remove("gone")


def known(registry: Registry) -> list[Known]:
    """Every version that is not in the bin, the newest first, with what its scores and its run say."""
    found = []
    for version in registry.list(all_versions=True):
        figures = {}
        said = [version.name, version.domain or "", version.base.id, version.kind, *version.aliases]
        said += [*version.tags, *version.tags.values(), version.recipe.method if version.recipe else ""]
        if any(file.name == "README.md" for file in version.files):
            said.append(registry.read(version, "README.md").decode())
        for score in reversed(registry.scores.find(digest=version.digest)):
            said += [score.suite, *score.metrics]
            for metric, summary in score.metrics.items():
                figures[metric] = figures[f"{score.suite}/{metric}"] = summary["value"]
        if version.run is not None:
            figures |= {f"loss.{name}": value for name, value in version.run.losses.items()}
        found.append(Known(version, figures, frozenset(split(" ".join(said)))))
    return found


def _weights(folder: Path, seed: int) -> Path:
    path = folder / f"{seed}.safetensors"
    draw = np.random.default_rng(seed)
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    shape = 4 + seed % 3
    save_file(
        {
            f"{stem}.lora_A.weight": draw.normal(size=(shape, 8)).astype("float32"),
            f"{stem}.lora_B.weight": draw.normal(size=(8, shape)).astype("float32"),
        },
        path,
    )
    return path


def _score(registry: Registry, version: Version, suite: str, values: dict[str, float]) -> None:
    metrics = {name: {"value": value} for name, value in values.items()}
    at = datetime.now(UTC)
    made = Score(
        version.digest, version.ref, version.base, suite, "5" * 64, {}, "d" * 64, 9, metrics, {}, "", at
    )  # fmt: skip
    registry.scores.add([(made, [])])
