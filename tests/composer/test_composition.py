"""A composition from the registry to the registry: what is read, what is written, what is left on a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lftreg import Method, Registry, Version, compose
from lftreg.errors import InvalidName, InvalidReference, LftregError, NotFound, UsageError
from lftreg.plugins.host import Host
from lftreg.registry import CONFIG, WEIGHTS, Base, Parent
from tests import forks

from .conftest import BASES, Kitchen, distance, real_model

Pair = tuple[Version, Version]


def test_what_is_registered(kitchen: Kitchen, pair: Pair, registry: Registry) -> None:
    made = compose(["a:0.7", "b@1:0.3"], name="mix", registry=registry)
    assert registry.get("mix") == made
    assert (made.ref, made.kind, made.base, made.rank, made.alpha) == (
        "mix@1",
        "composed",
        BASES["llama"],
        8,
        8,
    )
    assert made.target_modules == ("down_proj", "q_proj", "v_proj")
    assert made.recipe is not None
    assert made.recipe.method == "cat"
    assert made.recipe.options == {"dtype": "float32", "engine": "peft"}
    assert made.recipe.parents == (
        Parent("a@1", pair[0].digest, 0.7),
        Parent("b@1", pair[1].digest, 0.3),
    )
    assert [node.ref for node in registry.lineage("mix").parents] == ["a@1", "b@1"]
    assert registry.verify("mix") == []


def test_a_composition_of_compositions(kitchen: Kitchen, pair: Pair, registry: Registry) -> None:
    compose(["a:0.5", "b:2"], name="inner", registry=registry)
    outer = compose(["inner:-1", "a:1.5"], name="outer", registry=registry)
    assert distance(kitchen.deltas(outer), kitchen.expected((pair[0], 1.0), (pair[1], -2.0))) < 1e-6
    assert registry.lineage("outer").parents[0].parents[0].ref == "a@1"


def test_the_whole_base_answers_as_if_the_parents_were_added_to_it(kitchen: Kitchen, pair: Pair) -> None:
    made = compose(["a:0.7", "b:0.3"], registry=kitchen.registry)
    base = real_model("llama").double().eval()
    with torch.no_grad():
        for path, delta in kitchen.expected((pair[0], 0.7), (pair[1], 0.3)).items():
            base.get_submodule(path).weight += delta
        ids = torch.tensor([[1, 5, 9, 20, 3]])
        assert torch.allclose(kitchen.load(made)(input_ids=ids).logits, base(input_ids=ids).logits, atol=1e-6)


def test_peft_loads_the_exported_files(
    kitchen: Kitchen, pair: Pair, registry: Registry, tmp_path: Path
) -> None:
    from peft import PeftModel

    made = compose(["a:0.7", "b:0.3"], method="svd", rank=16, registry=registry)
    for name in (CONFIG, WEIGHTS):
        (tmp_path / name).write_bytes(registry.read(made, name))
    model = PeftModel.from_pretrained(real_model("llama"), str(tmp_path))
    assert model.peft_config["default"].r == 16


def test_the_name_is_the_parents_joined(kitchen: Kitchen, pair: Pair, registry: Registry) -> None:
    assert compose(["b", "a@1:0.5"], registry=registry).ref == "b-a@1"
    assert compose(["b", "a"], registry=registry).ref == "b-a@2"
    kitchen.parent("x" * 40)
    with pytest.raises(InvalidName, match="joined"):
        compose(["x" * 40, "x" * 40], registry=registry)


def test_one_string_is_one_parent(pair: Pair, registry: Registry) -> None:
    assert compose("a:0.5", registry=registry, name="half").rank == 4


@pytest.mark.parametrize(
    ("kept", "asked", "stored"),
    [
        ((torch.float32, torch.float32), "auto", "F32"),
        ((torch.bfloat16, torch.bfloat16), "auto", "BF16"),
        ((torch.float16, torch.float16), "auto", "F16"),
        ((torch.bfloat16, torch.float16), "auto", "F32"),
        ((torch.float64, torch.float64), "auto", "F32"),
        ((torch.bfloat16, torch.bfloat16), "float32", "F32"),
        ((torch.float32, torch.float32), "bfloat16", "BF16"),
    ],
)
def test_the_dtype_is_the_parents_unless_asked(
    kitchen: Kitchen, kept: tuple[torch.dtype, torch.dtype], asked: str, stored: str
) -> None:
    for seed, (name, dtype) in enumerate(zip("ab", kept, strict=True)):
        kitchen.parent(name, seed, dtype=dtype)
    made = compose(["a", "b"], dtype=asked, registry=kitchen.registry)
    with safe_open(kitchen.registry.file(made, WEIGHTS), framework="pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {stored}  # noqa: SIM118


def test_a_file_of_one_rank_for_all(kitchen: Kitchen, registry: Registry) -> None:
    """PEFT leaves some layers narrower than its configuration says; such a file cannot be loaded."""
    kitchen.parent("a", 1, rank_pattern={"q_proj": 2})
    kitchen.parent("b", 2)
    kitchen.parent("c", 3, rank_pattern={"q_proj": 2})
    for other, how in (
        ("b", {"method": "ties_svd", "rank": 12}),
        ("b", {"method": "svd", "rank": 12}),
        ("b", {"method": "cat"}),
        ("c", {"method": "linear"}),
    ):
        made = compose(["a", other], registry=registry, **how)
        tensors = load_file(registry.file(made, WEIGHTS))
        ranks = {t.shape[0] for key, t in tensors.items() if "lora_A" in key}
        assert ranks == {made.rank}
        kitchen.load(made)


def test_targets_are_names_where_names_say_it(kitchen: Kitchen, registry: Registry) -> None:
    kitchen.parent("names", 1, target_modules=["q_proj"])
    kitchen.parent("more", 2, target_modules=["self_attn.v_proj"])
    kitchen.parent("layers", 3, target_modules=["q_proj"], layers_to_transform=[1])
    assert compose(["names", "more"], registry=registry).target_modules == ("q_proj", "self_attn.v_proj")
    assert compose(["names", "layers"], registry=registry).target_modules == (
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
    )


# What is not there, and what must not be opened


def test_no_base_is_needed_at_all(kitchen: Kitchen, config_only: Path, registry: Registry) -> None:
    """Neither gone, nor without weights, nor with weights that nobody may read: the result is the same."""
    (unreadable := config_only.parent / "unreadable").mkdir()
    (unreadable / "config.json").write_bytes((config_only / "config.json").read_bytes())
    (unreadable / "model.safetensors").write_bytes(b"these are no weights")
    (unreadable / "model.safetensors").chmod(0)
    digests = set()
    for number, folder in enumerate((Path("/nowhere"), config_only, unreadable)):
        record = Base("aa" * 32, str(folder), "llama", 1000)
        for seed, name in enumerate(("a", "b"), start=1):
            kitchen.parent(f"{name}{number}", seed, record=record)
        digests.add(compose([f"a{number}:0.7", f"b{number}:0.3"], registry=registry).digest)
    assert len(digests) == 1


WATCHED = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from lftreg import compose
compose(["a:0.7", "b:0.3"], method=sys.argv[2])
touched = [path for path in opened if path.startswith(sys.argv[1])]
sys.exit(f"opened {touched}" if touched else 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cat", "ties_svd"])
def test_nothing_of_the_base_is_opened(kitchen: Kitchen, tmp_path: Path, method: str) -> None:
    folder = tmp_path / "base"
    real_model("llama").save_pretrained(folder)
    record = Base("aa" * 32, str(folder), "llama", 1000)
    kitchen.parent("a", 1, record=record)
    kitchen.parent("b", 2, record=record)
    done = run_python(WATCHED, str(folder), method)
    assert done.returncode == 0, done.stderr


BAD = """
import sys
from lftreg import compose
from lftreg.errors import LftregError
try:
    compose(sys.argv[2:], method=sys.argv[1])
except LftregError as error:
    heavy = {"torch", "peft", "transformers"} & set(sys.modules)
    sys.exit(f"imported {heavy}" if heavy else 0)
sys.exit("not refused")
"""


@pytest.mark.parametrize(
    "words", [("cat", "a", "dora"), ("linear", "a", "wide"), ("cat", "a", "nobody"), ("tiess", "a", "b")]
)
def test_a_refusal_comes_before_torch(kitchen: Kitchen, pair: Pair, words: tuple[str, ...]) -> None:
    kitchen.parent("dora", 3, use_dora=True)
    kitchen.parent("wide", 4, r=9)
    done = run_python(BAD, *words, fresh=True)
    assert done.returncode == 0, done.stderr


def run_python(code: str, *words: str, fresh: bool = False) -> subprocess.CompletedProcess[str]:
    """In a process of its own; `fresh`: that finds nothing imported."""
    if not fresh:
        return forks.python(code, *words)
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# Mistakes


@pytest.mark.parametrize(
    ("words", "how", "error"),
    [
        ([], {}, UsageError),
        (["a", "nobody"], {}, NotFound),
        (["a@9"], {}, NotFound),
        (["a:x"], {}, InvalidReference),
        (["a:nan"], {}, InvalidReference),
        (["hub:org/repo", "a"], {}, InvalidReference),
        (["./folder", "a"], {}, InvalidReference),
        (["a", "b"], {"name": "Not A Name"}, InvalidName),
        (["a", "b"], {"method": "catt"}, NotFound),
        (["a", "b"], {"engine": "steam"}, UsageError),
        (["a", "b"], {"dtype": "int8"}, UsageError),
        (["a", "b"], {"densty": 0.5, "method": "ties"}, UsageError),
    ],
)
def test_mistakes_are_told_and_register_nothing(
    pair: Pair, registry: Registry, words: list[str], how: dict[str, Any], error: type[LftregError]
) -> None:
    with pytest.raises(error) as told:
        compose(words, registry=registry, **how)
    assert told.value.hint
    assert {version.name for version in registry.list()} == {"a", "b"}


NO_ROOM = """
import resource
from lftreg import Registry, compose
from lftreg.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    compose(["a", "b"])
except StorageError as error:
    assert error.hint
    raise SystemExit(0 if len(Registry().list()) == 2 else "something was registered")
raise SystemExit("not refused")
"""


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_told(kitchen: Kitchen) -> None:
    """The result is larger than what this process may write into one file; its parents are not."""
    for seed, name in enumerate("ab"):
        kitchen.parent(name, seed, r=1024)
    done = run_python(NO_ROOM)
    assert done.returncode == 0, done.stderr


def elsewhere(model: Any, adapters: Any, weights: Any, name: str) -> None:
    from peft import LoraConfig

    model.add_adapter(name, LoraConfig(r=2, target_modules=["q_proj"]))


@pytest.mark.parametrize(
    ("merge", "needs", "message"),
    [
        (lambda model, adapters, weights, name: None, (), "made no adapter"),
        (elsewhere, (), "other layers than its parents"),
        (elsewhere, ("good-weather",), "'good-weather'"),
    ],
)
def test_a_method_with_a_mistake_is_told(
    pair: Pair, registry: Registry, merge: Any, needs: Any, message: str
) -> None:
    class Mine(Host):
        def method(self, name: str) -> Method:
            return Method(name, "a mistake", merge, needs=needs)

    with pytest.raises(LftregError, match=message):
        compose(["a", "b"], registry=registry, host=Mine(external=False))
    assert len(registry.list()) == 2


def test_the_configuration_is_one_that_scripts_can_read(pair: Pair, registry: Registry) -> None:
    config = json.loads(registry.read(compose(["a", "b"], registry=registry), CONFIG))
    assert config["r"] == config["lora_alpha"] == 8
    assert config["task_type"] == "CAUSAL_LM"
    assert config["base_model_name_or_path"] == BASES["llama"].id
    assert config["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    assert not config["rank_pattern"] and not config["alpha_pattern"]
