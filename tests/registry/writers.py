"""What one of many processes does to a registry: writes of every kind in a random order, and what it was told.

`python -m tests.registry.writers WEIGHTS SEED TIMES [PER_SECOND]` prints one JSON document of what was confirmed.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from lftreg.registry import Draft, Registry
from tests.registry.conftest import BASE
from tests.registry.test_scores import score

NAMES = ("support", "finance", "code", "poems")  # shared by all
ALIASES = ("prod", "latest", "canary")
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


def write(weights: Path, seed: int, times: int, per_second: float | None = None) -> dict[str, Any]:
    """Write so often. Returns the refs that are there, and gone, the tags given, and how often each verb was used."""
    draw, registry = random.Random(seed), Registry()
    made: list[str] = []
    gone: list[str] = []
    tags: dict[str, str] = {}
    done: Counter[str] = Counter()
    began = time.monotonic()
    for n in range(times):
        verb = (
            draw.choices(("register", "alias", "tag", "score", "rm"), (4, 4, 4, 3, 1))[0]
            if made
            else "register"
        )
        if verb == "register":
            config = CONFIG | {"lora_alpha": 1 + seed * 100_000 + n}
            made.append(registry.publish(Draft(draw.choice(NAMES), "trained", BASE, weights, config)).ref)
        elif verb == "alias":
            registry.alias(draw.choice(made), draw.choice(ALIASES))
        elif verb == "tag":
            ref = draw.choice(made)
            tags[ref] = f"{seed}-{n}"
            registry.tag(ref, {"by": tags[ref]})
        elif verb == "score":
            version = registry.get(draw.choice(made))
            one = score(version.digest, ref=version.ref, metrics={"bleu": {"value": float(n)}})
            registry.scores.add([(replace(one, suite=f"suite-{seed}"), [{"n": n}])])
        elif len(made) > 1:
            gone.append(made.pop(draw.randrange(len(made))))
            registry.remove(gone[-1])
        else:
            continue
        done[verb] += 1
        if per_second is not None:
            time.sleep(max(0.0, began + (n + 1) / per_second - time.monotonic()))
    registry.close()
    return {"made": made, "gone": gone, "tags": tags, "done": done}


if __name__ == "__main__":
    rate = float(sys.argv[4]) if len(sys.argv) > 4 else None
    print(json.dumps(write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), rate)))
