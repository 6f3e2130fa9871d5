"""The rows of benchmarks/registry.py, made in bulk."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from lftreg.registry import Registry, derived
from lftreg.registry import schema as t

BASES, DOMAINS, TEAMS = 5, 5, 4
WORDS = [f"{a}{b}" for a in ("re", "un", "over", "out", "fore") for b in
         ("fund", "tone", "voice", "ticket", "order", "ship", "price", "chat", "rule", "claim")]  # fmt: skip
SUITES = ("desk", "ledger", "snippets", "poems")
METRICS = ("bleu", "rouge_l")


def fill(registry: Registry, count: int, scores: int) -> int:
    """So many versions, five an adapter, each with so many scores. Returns how many scores there are."""
    draw = random.Random(1)
    registry.upgrade()
    began = datetime(2026, 1, 1)
    with registry._writing() as connection:
        connection.execute(
            insert(t.bases),
            [
                {
                    "fingerprint": digest(f"base-{n}"),
                    "id": f"base-{n}",
                    "model_type": "llama",
                    "parameters": 10**9,
                }
                for n in range(BASES)
            ],
        )
        adapters = (count + 4) // 5
        connection.execute(
            insert(t.adapters),
            [{"id": n + 1, "name": f"adapter-{n:05}", "last_number": 5} for n in range(adapters)],
        )
        for some in _pieces(range(count)):
            rows = [_version(n, draw, began) for n in some]
            connection.execute(insert(t.versions), rows)
            connection.execute(insert(t.files), [file for n in some for file in _files(n)])
            tags = [
                {"version_id": n + 1, "key": key, "value": value}
                for n in some
                for key, value in (("team", f"team-{n % TEAMS}"), ("note", " ".join(draw.sample(WORDS, 4))))
            ]
            connection.execute(insert(t.tags), tags)
            aliases = [
                {"adapter_id": n // 5 + 1, "alias": "prod", "version_id": n + 1}
                for n in some
                if n % 5 == (n // 5 * 7) % 5
            ]
            connection.execute(insert(t.aliases), aliases)
        made = 0
        for some in _pieces(range(count)):
            rows = [_score(n, k, draw, began) for n in some for k in range(scores)]
            connection.execute(insert(t.scores), rows)
            made += len(rows)
        derived.rebuild(connection)
    return made


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def small_adapter(path: Path) -> None:
    """A real file of one target."""
    import numpy as np
    from safetensors.numpy import save_file

    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    zeros = np.zeros((4, 8), np.float32)
    save_file({f"{stem}.lora_A.weight": zeros, f"{stem}.lora_B.weight": zeros.T.copy()}, path)


def _pieces(numbers: range, size: int = 5000) -> list[range]:
    return [numbers[at : at + size] for at in range(0, len(numbers), size)]


def _version(n: int, draw: random.Random, began: datetime) -> dict[str, Any]:
    base = draw.randrange(BASES)
    return {
        "id": n + 1,
        "adapter_id": n // 5 + 1,
        "number": n % 5 + 1,
        "digest": digest(str(n)),
        "kind": "trained" if n % 7 else "imported",
        "base": digest(f"base-{base}"),
        "base_id": f"base-{base}",
        "domain": f"domain-{draw.randrange(DOMAINS)}",
        "rank": 16,
        "alpha": 32.0,
        "target_modules": ["q_proj", "v_proj"],
        "trainable_parameters": 4_000_000,
        "created_at": began + timedelta(seconds=n),
    }


def _files(n: int) -> list[dict[str, Any]]:
    names = (("adapter_model.safetensors", 16_000_000, False), ("adapter_config.json", 700, False))
    return [
        {
            "version_id": n + 1,
            "name": name,
            "sha256": digest(f"{n}{name}"),
            "size": size,
            "attachment": attached,
        }
        for name, size, attached in names
    ]


def _score(n: int, k: int, draw: random.Random, began: datetime) -> dict[str, Any]:
    metrics = {name: {"value": round(100 * draw.random(), 6), "n": 200} for name in METRICS}
    suite = SUITES[k % len(SUITES)]
    return {
        "digest": digest(str(n)),
        "ref": f"adapter-{n // 5:05}@{n % 5 + 1}",
        "base": digest("base-0"),
        "suite": suite,
        "suite_digest": digest(suite),
        "decoding": {"max_tokens": 64},
        "decoding_digest": digest("greedy"),
        "n": 200,
        "metrics": metrics,
        "facts": {},
        "libraries": {},
        "items": digest(f"{n}-{k}"),
        "at": began,
    }
