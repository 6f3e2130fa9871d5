"""The same questions to MLflow's registry on SQLite and to lftreg's, each in the environment it lives in.

    python benchmarks/registry_mlflow.py MLFLOW_PYTHON FOLDER [--models 1500]

Both hold so many models of one version, each with a tag and an alias, made through their own APIs. First use is a fresh
process that registers one version in a fresh database and reads it back.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

MODELS, ROUNDS = 1500, 60
Asked = dict[str, list[float]]


def milliseconds(ask: Callable[[int], object], rounds: int = ROUNDS) -> list[float]:
    taken = []
    for n in range(rounds + 3):
        began = time.perf_counter()
        ask(n)
        taken.append((time.perf_counter() - began) * 1e3)
    return taken[3:]


def of_lftreg(folder: Path, models: int) -> Asked:
    from lftreg.paths import Home
    from lftreg.registry import Base, Draft, Registry
    from registry_rows import small_adapter

    base = Base("f" * 64, "starter", "llama", 10**7)
    weights = folder / "adapter.safetensors"
    small_adapter(weights)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}

    def add(name: str) -> None:
        registry.publish(Draft(name, "trained", base, weights, config, tags={"team": "desk", "nth": name}))
        registry.alias(name, "prod")

    registry = Registry(Home(folder / "lftreg"))
    if models == 0:
        add("first")
        assert registry.get("first@prod").number == 1
        return {}
    for n in range(models):
        add(f"model-{n}")
    found = registry.list(tags={"nth": "model-77"})
    assert [one.name for one in found] == ["model-77"] and found[0].aliases == ("prod",)
    return {
        "search by tag": milliseconds(lambda n: registry.list(tags={"nth": f"model-{n}"})),
        "alias lookup": milliseconds(lambda n: registry.get(f"model-{n}@prod")),
        "version + alias": milliseconds(lambda n: add(f"model-{n}")),
    }


def of_mlflow(folder: Path, models: int) -> Asked:
    from mlflow import MlflowClient

    client = MlflowClient(
        registry_uri=f"sqlite:///{folder}/mlflow.db", tracking_uri=f"sqlite:///{folder}/mlflow.db"
    )

    def version(name: str) -> None:
        made = client.create_model_version(name, source=str(folder), tags={"team": "desk"})
        client.set_registered_model_alias(name, "prod", made.version)

    def add(name: str) -> None:
        client.create_registered_model(name, tags={"team": "desk", "nth": name})
        version(name)

    if models == 0:
        add("first")
        assert client.get_model_version_by_alias("first", "prod").version
        return {}
    for n in range(models):
        add(f"model-{n}")
    assert [one.name for one in client.search_registered_models("tags.nth = 'model-77'")] == ["model-77"]
    return {
        "search by tag": milliseconds(lambda n: client.search_registered_models(f"tags.nth = 'model-{n}'")),
        "alias lookup": milliseconds(lambda n: client.get_model_version_by_alias(f"model-{n}", "prod")),
        "version + alias": milliseconds(lambda n: version(f"model-{n}")),
    }


def asked(python: str, who: str, folder: Path, models: int) -> tuple[Asked, float]:
    """What a fresh process of an environment found, and its seconds from start to end."""
    folder.mkdir(parents=True)
    command = [python, __file__, python, str(folder), "--models", str(models), "--of", who]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", help="the Python of an environment that has mlflow")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--of", choices=("lftreg", "mlflow"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of:
        print(json.dumps((of_lftreg if given.of == "lftreg" else of_mlflow)(given.folder, given.models)))
        return
    told = "import mlflow; print(mlflow.__version__)"
    which = subprocess.run(
        [given.python, "-c", told], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    both = {"lftreg": sys.executable, "mlflow": given.python}
    first: Asked = {who: [] for who in both}
    for turn in range(5):  # in turns; the first warms the disk's cache and is not counted
        for who, python in both.items():
            first[who].append(asked(python, who, given.folder / f"first-{who}-{turn}", 0)[1] * 1e3)
    found = {who: asked(python, who, given.folder / who, given.models)[0] for who, python in both.items()}
    print(f"\nMLflow {which}, {given.models} models; milliseconds, medians")
    for question in ("first use", *found["mlflow"]):
        ours, theirs = (
            statistics.median(first[who][1:] if question == "first use" else found[who][question])
            for who in both
        )
        print(
            f"{question:<20} lftreg {ours:>9.2f}   mlflow {theirs:>9.2f}   {theirs / ours:.0f} x", flush=True
        )


if __name__ == "__main__":
    main()
