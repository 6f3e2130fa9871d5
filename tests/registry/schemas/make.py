"""Write a registry that has something of everything as SQL, by whichever lftreg is imported; see README.md."""

from __future__ import annotations

import base64
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

from lftreg import registry as its
from lftreg.paths import Home
from lftreg.registry import Base, Draft, Parent, Recipe, Registry, Run

STARTER = Base("ab" * 32, "starter", "llama", 12_600_000)
OTHER = Base("cd" * 32, "org/other-base", "qwen2", 494_000_000)
FILE = "-- file "
RUN = Run(
    seed=2**40,
    data_digest="ef" * 32,
    settings={"rank": 2, "lr": 3e-3, "map": {"prompt": "Frage"}, "parent": None},
    libraries={"torch": "2.13.0"},
    losses={"train_first": 4.0, "train_last": 0.1 + 0.2, "validation_before": 3.9, "validation_after": 0.31},
    examples={"train": 600, "validation": 100, "test": 120},
    tokens=36_000,
    seconds=58.5,
)
FACTS = {
    "contaminated": [1],
    "answers_trained_on": 0,
    "trained_left_out": 0,
    "too_long": 0,
    "unknown_data": [],
}
ODD = {
    "team": "desk",
    "it's": 'quo"ted; DROP TABLE tags; --',
    "ключ": "日本語 🦆",
    "empty": "",
    "line": "one\ntwo\t%_\\",
}


def fill(registry: Registry, folder: Path) -> None:
    def publish(name: str, content: int, **more: Any) -> Any:
        weights = folder / f"{content}.safetensors"
        weights.write_bytes(small_weights(content))
        config = {
            "peft_type": "LORA",
            "r": 2,
            "lora_alpha": 4 + content,
            "target_modules": ["q_proj", "v_proj"],
        }
        defaults = {"kind": "trained", "base": STARTER, "weights": weights, "config": config}
        return registry.publish(Draft(name, **{**defaults, **more}))

    card = {
        "README.md": "# Support\n\nAnswers about refunds, warmly — grüß Gott.\n".encode(),
        "loss.svg": b"<svg/>",
    }
    publish("support", 1, domain="customer_support", run=RUN, tags=ODD, attachments=card)
    second = publish("support", 2, domain="customer_support", run=RUN)
    publish("support", 3, domain="customer_support")
    finance = publish("finance-2.1_b", 4, domain="financial_advisor", tags={"team": "money"})
    publish("copy", 1)  # content that another name has too
    parents = (Parent("support@prod", second.digest, 0.7), Parent(finance.ref, finance.digest, -0.3))
    mixed = publish("mixed", 5, kind="composed", recipe=Recipe("ties", {"density": 0.5}, parents, 2e-8))
    publish(
        "mixed-twice", 6, kind="composed", recipe=Recipe("cat", {}, (Parent(mixed.ref, mixed.digest, 1.0),))
    )
    publish("guest", 7, kind="imported", base=OTHER)
    publish("gone", 8)
    publish("gone", 9)
    registry.alias("support@1", "prod")
    registry.alias("support@2", "prod")
    registry.alias("support@3", "canary")
    registry.alias("finance-2.1_b@1", "prod")
    registry.unalias("support", "canary")
    registry.alias("gone@2", "prod")
    registry.tag("mixed", {"note": "first", "draft": "yes"})
    registry.tag("mixed", {"note": "second", "draft": None})
    registry.remove("support@3")
    registry.remove("gone")
    registry.restore("gone@1")
    registry.remember_fingerprint("12" * 32, OTHER)
    if hasattr(registry, "scores"):
        _score(registry, second)
    if hasattr(registry, "keys"):
        registry.keys.add("website")
        registry.keys.add("intern", ["generate"], adapters=["support*"], per_minute=20, concurrent=2)


def _score(registry: Registry, version: Any) -> None:
    shared: dict[str, Any] = {
        "ref": version.ref, "base": STARTER, "suite": "customer_support", "suite_digest": "34" * 32,
        "decoding": {"max_tokens": 64, "temperature": 0.0}, "decoding_digest": "56" * 32, "n": 2,
        "libraries": {"torch": "2.13.0"}, "items": "", "at": version.created_at,
    }  # fmt: skip
    empty = dict.fromkeys(("p", "mde", "winner", "note", "signature", "against", "clean", "clean_against"))
    about = {**empty, "n": 2, "better": "higher", "unit": "", "measurable": True}
    metrics = {
        "bleu": {"value": 31.5, "base": 2.25, "delta": 29.25, "ci95": [20.0, 38.0], **about},
        "exact": {"value": 0.1 + 0.2, "base": None, "delta": None, "ci95": None, **about},
    }
    for digest, facts in ((version.digest, FACTS), (STARTER.fingerprint, {})):
        score = its.Score(digest=digest, metrics=metrics, facts=facts, **shared)
        registry.scores.add([(score, [{"item": n, "scores": {"bleu": 30.0 + n}} for n in range(2)])])
    for item, choice in enumerate(("it", "tie", "other")):
        registry.scores.prefer(
            its.Preference(
                digest=version.digest,
                ref=version.ref,
                against=STARTER.fingerprint,
                against_ref="base:starter",
                suite="customer_support",
                suite_digest="34" * 32,
                decoding_digest="56" * 32,
                item=item,
                choice=choice,
                at=version.created_at,
            )
        )


def small_weights(content: int) -> bytes:
    """Two factors of rank 2 as safetensors."""
    import json
    import struct

    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    shapes = {"A": [2, 2], "B": [2, 2]}
    header = {
        f"{stem}{side}.weight": {"dtype": "F32", "shape": shape, "data_offsets": [16 * n, 16 * n + 16]}
        for n, (side, shape) in enumerate(shapes.items())
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + struct.pack("<8f", *(content / (n + 1) for n in range(8)))


def dump(home: Home) -> str:
    with sqlite3.connect(home.database) as connection:
        lines = list(connection.iterdump())
    files = sorted(path for path in home.blobs.glob("*/*") if path.is_file())
    return "\n".join([*lines, *(FILE + base64.b64encode(path.read_bytes()).decode() for path in files), ""])


def load(script: Path, home: Home) -> None:
    """Make the home again that a script was written from."""
    import hashlib

    home.root.mkdir(parents=True, exist_ok=True)
    said = script.read_text(encoding="utf-8")
    connection = sqlite3.connect(home.database)
    connection.executescript(said)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    for line in said.splitlines():
        if line.startswith(FILE):
            content = base64.b64decode(line.removeprefix(FILE))
            sha256 = hashlib.sha256(content).hexdigest()
            path = home.blobs / sha256[:2] / sha256
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        with Registry(home) as registry:
            fill(registry, Path(folder))
        Path(sys.argv[1]).write_text(dump(home), encoding="utf-8")


if __name__ == "__main__":
    main()
