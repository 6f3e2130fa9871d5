"""`lftreg diff A B`: what changed between two versions, in words, as a document and as a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import load_file, save_file

from lftreg import Registry, Version
from lftreg.registry import WEIGHTS, Parent, Recipe

from .conftest import BASE, CONFIG, RUN, Lftreg, Publish
from .html_pages import Page, needs_browser, screenshot
from .test_main import imported_by

pytestmark = pytest.mark.slow

STEM = "base_model.model.model.layers.0.self_attn.q_proj"
KEYS = {"a", "b", "same_digest", "files", "config", "run", "recipe", "tags", "weights", "reason"}


def dense(version: Version, registry: Registry) -> Any:
    """What the published adapter adds to its one layer, in full."""
    tensors = load_file(registry.file(version, WEIGHTS))
    a, b = (tensors[f"{STEM}.lora_{part}.weight"].astype("f8") for part in "AB")
    return b @ a * version.alpha / version.rank


def test_the_document(lftreg: Lftreg, publish: Publish, registry: Registry) -> None:
    first = publish(
        "support", seed=1, run=RUN, tags={"team": "desk", "tone": "warm"}, attachments={"old": b"1"}
    )
    run = replace(RUN, seed=7, settings={"rank": 4, "lr": 1e-3}, losses=RUN.losses | {"train_last": 0.4})
    config = CONFIG | {"lora_alpha": 16, "bias": "none", "use_dora": False}
    second = publish(
        "support", seed=2, run=run, tags={"team": "ops"}, config=config, attachments={"new": b"12"}
    )
    document = lftreg("diff", "support@1", "support", "--json").document
    assert set(document) == KEYS
    assert document["a"]["ref"] == "support@1" and document["b"]["ref"] == "support@2"
    assert document["a"]["digest"] == f"sha256:{first.digest}"
    assert document["same_digest"] is False
    assert [f["name"] for f in document["files"]["added"]] == ["new"]
    assert [(f["name"], f["bytes"]) for f in document["files"]["removed"]] == [("old", 1)]
    assert [f["name"] for f in document["files"]["changed"]] == ["adapter_config.json", WEIGHTS]
    by_name = {file.name: file for file in second.files}
    assert document["files"]["changed"][1]["b"]["sha256"] == by_name[WEIGHTS].sha256
    assert document["config"] == {"lora_alpha": {"a": 8, "b": 16}, "bias": {"a": None, "b": "none"}}
    assert document["run"] == {
        "seed": {"a": 0, "b": 7},
        "settings.lr": {"a": 3e-3, "b": 1e-3},
        "losses.train_last": {"a": 0.5, "b": 0.4},
    }
    assert document["recipe"] == {}
    assert document["tags"] == {"team": {"a": "desk", "b": "ops"}, "tone": {"a": "warm", "b": None}}
    weights, (a, b) = document["weights"], (dense(version, registry) for version in (first, second))
    norm = numpy.linalg.norm
    assert weights["relative"] == pytest.approx(norm(a - b) / norm(a), rel=1e-9)
    assert weights["difference"] == pytest.approx(norm(a - b), rel=1e-9)
    assert weights["norms"] == pytest.approx({"a": norm(a), "b": norm(b)}, rel=1e-9)
    assert weights["cosine"] == pytest.approx((a * b).sum() / norm(a) / norm(b), rel=1e-9)
    assert weights["conflict"] == pytest.approx((a * b < 0).mean())
    assert weights["ranks"] == {"a": [4], "b": [4]}
    (layer,) = weights["layers"]
    assert (layer["path"], layer["module"]) == ("model.layers.0.self_attn.q_proj", "q_proj")
    assert document["reason"] is None


def test_the_words(lftreg: Lftreg, publish: Publish, registry: Registry) -> None:
    first = publish("support", seed=1, run=RUN)
    second = publish("support", seed=2, run=replace(RUN, seed=7), tags={"team": "ops"})
    said = lftreg("diff", "support@1", "support@2").out
    rows = [line.split() for line in said.splitlines()]
    assert ["version", "support@1", "support@2"] in rows
    assert ["seed", "0", "7"] in rows
    assert ["team", "–", "ops"] in rows
    a, b = dense(first, registry), dense(second, registry)
    relative = numpy.linalg.norm(a - b) / numpy.linalg.norm(a)
    assert f"{relative:.2f} of ||A||" in said
    row = next(row for row in rows if row[:1] == ["q_proj"])
    assert row[1] == "1" and row[-1:] == ["%"] and row[-2] == "100"
    assert "CONFIGURATION" not in said and "RECIPE" not in said


def test_the_same_adapter_twice(lftreg: Lftreg, publish: Publish) -> None:
    publish("support", seed=1)
    publish("copy", seed=1)
    document = lftreg("diff", "support", "copy", "--json").document
    assert document["same_digest"] is True
    assert document["files"] == {"added": [], "removed": [], "changed": []}
    assert document["weights"]["difference"] == 0
    said = lftreg("diff", "support", "copy").out
    assert "the same adapter" in said
    assert "changed   nothing" in said
    assert "FILES" not in said


def test_recipes_by_parent(lftreg: Lftreg, publish: Publish) -> None:
    one = Recipe(
        "cat", {"dtype": "float32"}, (Parent("s@1", "ab" * 32, 0.7), Parent("f@1", "cd" * 32, 0.3)), 2e-8
    )
    other = Recipe("svd", {"rank": 4}, (Parent("s@1", "ab" * 32, 0.5), Parent("g@1", "ef" * 32, 0.3)), 0.1)
    publish("mix", seed=1, kind="composed", recipe=one)
    publish("mix", seed=2, kind="composed", recipe=other)
    assert lftreg("diff", "mix@1", "mix@2", "--json").document["recipe"] == {
        "method": {"a": "cat", "b": "svd"},
        "options.dtype": {"a": "float32", "b": None},
        "options.rank": {"a": None, "b": 4},
        "parents.s@1": {"a": 0.7, "b": 0.5},
        "parents.f@1": {"a": 0.3, "b": None},
        "parents.g@1": {"a": None, "b": 0.3},
        "relative_error": {"a": 2e-8, "b": 0.1},
    }


def test_different_bases_and_what_is_no_lora_leave_the_weights_out(lftreg: Lftreg, publish: Publish) -> None:
    publish("support", seed=1, tags={"team": "desk"})
    publish("other", seed=2, base=replace(BASE, fingerprint="cd" * 32, id="org/other"))
    publish("dora", seed=3, config=CONFIG | {"use_dora": True})
    document = lftreg("diff", "support", "other", "--json").document
    assert document["weights"] is None
    assert "different bases" in document["reason"] and "org/other" in document["reason"]
    assert document["tags"] == {"team": {"a": "desk", "b": None}}
    document = lftreg("diff", "support", "dora", "--json").document
    assert document["weights"] is None
    assert "use_dora" in document["reason"] and "dora@1" in document["reason"]
    assert document["config"] == {"use_dora": {"a": None, "b": True}}
    said = lftreg("diff", "support", "dora").out
    assert "not compared: dora@1" in said and "use_dora" in said


def test_many_layers_are_summed_up(
    lftreg: Lftreg, publish: Publish, registry: Registry, tmp_path: Path
) -> None:
    from lftreg.registry import Draft

    for name, seed in (("a", 1), ("b", 2)):
        draw = numpy.random.default_rng(seed)
        tensors = {}
        for at in range(12):
            same = at != 11  # all of the change is in one layer
            roll = numpy.random.default_rng(99 + at) if same else draw
            for part, shape in (("A", (4, 8)), ("B", (8, 4))):
                key = f"base_model.model.model.layers.{at}.self_attn.q_proj.lora_{part}.weight"
                tensors[key] = roll.normal(size=shape).astype("f4")
        save_file(tensors, tmp_path / f"{name}.safetensors")
        registry.publish(Draft(name, "trained", BASE, tmp_path / f"{name}.safetensors", CONFIG))
    said = lftreg("diff", "a", "b").out
    assert "model.layers" not in said
    assert said.split("MOST CHANGED")[1].splitlines()[1].startswith("11 q_proj")
    assert len(said.split("MOST CHANGED")[1].splitlines()) == 2  # the others did not change
    for words in (("-v",), ("--all-layers",)):
        every = lftreg("diff", "a", "b", *words).out
        assert len([line for line in every.splitlines() if line.startswith("model.layers")]) == 12
    layers = lftreg("diff", "a", "b", "--json").document["weights"]["layers"]
    assert [layer["difference"] > 0 for layer in layers] == [False] * 11 + [True]


def test_the_page(lftreg: Lftreg, publish: Publish, tmp_path: Path) -> None:
    publish("support", seed=1, tags={"note": "<img src=x onerror=alert(1)>"})
    publish("finance", seed=2)
    said = lftreg("diff", "support", "finance", "--html", "diff.html").err
    assert "wrote diff.html" in said
    page = Page((tmp_path / "diff.html").read_text(encoding="utf-8"))
    assert page.stands_alone()
    assert "<img src=x onerror=alert(1)>" in page.words
    assert "support@1 and finance@1" in page.words
    error = lftreg("diff", "support", "finance", "--html", "diff.html", "--json", code=2).error
    assert error["code"] == "exists"


@needs_browser
def test_a_browser_shows_it(lftreg: Lftreg, publish: Publish, tmp_path: Path) -> None:
    from PIL import Image

    publish("support", seed=1), publish("finance", seed=2)
    lftreg("diff", "support", "finance", "--html", "diff.html")
    image = Image.open(screenshot(tmp_path / "diff.html", tmp_path)).convert("RGB")
    reds = [n for n, (r, g, b) in image.getcolors(1 << 24) or [] if r > g + 40 and r > b + 20]
    assert sum(reds) > 300  # a heatmap of one cell, and the keys beside it


@pytest.mark.parametrize("words", [("support", "nobody"), ("nobody", "support")])
def test_who_is_not_there(lftreg: Lftreg, publish: Publish, words: tuple[str, str]) -> None:
    publish("support", seed=1)
    assert lftreg("diff", *words, "--json", code=3).error["code"] == "unknown-adapter"


def test_it_loads_neither_torch_nor_peft(environment: dict[str, str], publish: Publish) -> None:
    publish("support", seed=1), publish("finance", seed=2)
    modules = imported_by(environment, "diff", "support", "finance")
    assert "numpy" in modules
    assert not modules & {"torch", "transformers", "peft", "accelerate", "PIL"}


def test_a_damaged_file_is_no_difference(lftreg: Lftreg, registry: Registry, publish: Publish) -> None:
    """One bit of a number is still a number, and would be compared as one."""
    one, _ = publish("support", seed=1), publish("finance", seed=2)
    path = registry.file(one, WEIGHTS)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    error = lftreg("diff", "support", "finance", "--json", code=6).error
    assert error["code"] == "changed-file"
    assert "support@1" in error["message"]
