"""`lftreg show REF --report`: what a composition did, in words, as a document and as a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from lftreg import Registry, Version, compose
from lftreg.composer.report import ATTACHMENT, Report
from lftreg.registry import Draft

from .conftest import BASE, Lftreg, Publish
from .html_pages import Page, needs_browser, screenshot
from .test_main import HEAVY, imported_by

MODULES = ("self_attn.q_proj", "mlp.down_proj")


@pytest.fixture
def deep(registry: Registry, tmp_path: Path) -> Any:
    """Publish an adapter of twelve blocks and a head."""

    def put(name: str, seed: int, **fields: Any) -> Version:
        draw = numpy.random.default_rng(seed)
        paths = [f"model.layers.{at}.{module}" for at in range(12) for module in MODULES]
        tensors = {}
        for path in [*paths, "lm_head"]:
            for part, shape in (("A", (4, 24)), ("B", (24, 4))):
                tensors[f"base_model.model.{path}.lora_{part}.weight"] = draw.normal(size=shape).astype("f4")
        save_file(tensors, tmp_path / f"{name}.safetensors")
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
        config["target_modules"] = ["q_proj", "down_proj", "lm_head"]
        draft = Draft(name, "trained", BASE, tmp_path / f"{name}.safetensors", config)
        return registry.publish(replace(draft, **fields))

    return put


@pytest.fixture
def small(deep: Any, registry: Registry) -> Version:
    """Two of them cut back to rank 2, which loses much."""
    deep("support", 1), deep("finance", 2)
    return compose(
        ["support:0.7", "finance:-0.3"],
        name="small",
        method="svd",
        rank=2,
        engine="factors",
        registry=registry,
    )


def test_the_words(lftreg: Lftreg, small: Version, registry: Registry) -> None:
    said = lftreg("show", "small", "--report").out
    report = Report.from_bytes(registry.read(small, ATTACHMENT))
    lines = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert "0.7 × support@1" in said and "-0.3 × finance@1" in said
    assert f"{report.relative_error:.2f} of the weighted sum" in said
    energy = report.energy
    assert f"rank 2 holds {100 * energy['2']:.1f} %, 4 {100 * energy['4']:.1f} %, 8 100 %" in said
    assert "needs --max-lora-rank 8" in said
    assert lines["MODULE"][1:] == ["LAYERS", "COSINE", "CONFLICT", "ERROR", "SHARE"]
    for module in ("q_proj", "down_proj"):
        layers = [layer for layer in report.layers if layer.path.endswith(module)]
        assert int(lines[module][1]) == len(layers) == 12
        conflict = sum(layer.conflict or 0 for layer in layers) / 12
        assert float(lines[module][3]) == pytest.approx(100 * conflict, abs=0.051)
        whole = sum(layer.norm**2 for layer in layers)
        error = (sum((layer.error or 0) ** 2 * layer.norm**2 for layer in layers) / whole) ** 0.5
        assert float(lines[module][5]) == pytest.approx(error, abs=0.0051)
        total = sum(layer.norm**2 for layer in report.layers)
        assert float(lines[module][6]) == pytest.approx(100 * whole / total, abs=0.051)
    assert int(lines["lm_head"][1]) == 1
    worst = max(report.layers, key=lambda layer: layer.error or 0)
    after = said.split("LARGEST ERRORS")[1].splitlines()[1]
    index = [part for part in worst.path.split(".") if part.isdigit()]
    assert after.startswith(" ".join([*index, worst.path.rsplit(".", 1)[-1]]))
    assert len(said.splitlines()) < 40


def test_all_layers_only_where_they_are_asked_for(lftreg: Lftreg, small: Version) -> None:
    few = lftreg("show", "small", "--report").out
    assert "model.layers" not in few
    for words in (("--report", "-v"), ("--all-layers",)):
        said = lftreg("show", "small", *words).out
        paths = [
            line.split()[0] for line in said.splitlines() if line.startswith(("model.layers", "lm_head  "))
        ]
        assert len([path for path in paths if path.startswith("model")]) == 24
        assert paths.index("model.layers.9.mlp.down_proj") < paths.index("model.layers.10.mlp.down_proj")


def test_parents_beside_each_other(lftreg: Lftreg, deep: Any, registry: Registry) -> None:
    names = [f"n{at}" for at in range(8)]
    for at, name in enumerate(names):
        deep(name, at)
    compose(names[:3], name="three", engine="factors", registry=registry)
    compose(names, name="eight", engine="factors", registry=registry)
    said = lftreg("show", "three", "--report").out
    found = Report.from_bytes(registry.read(registry.get("three"), ATTACHMENT))
    row = next(line for line in said.splitlines() if line.startswith("2: n1@1")).split()[2:]
    assert [float(value) for value in row] == pytest.approx(found.cosines[1], abs=0.0051)
    said = lftreg("show", "eight", "--report").out
    assert "between two parents in the mean, from -0.0" in said
    assert not any(line.startswith("COSINE") for line in said.splitlines())


def test_an_exact_sum_has_no_worst_layer(lftreg: Lftreg, deep: Any, registry: Registry) -> None:
    deep("support", 1), deep("finance", 2)
    compose(["support", "finance"], name="desk", engine="factors", registry=registry)
    said = lftreg("show", "desk", "--report").out
    assert "exact, but for rounding" in said
    assert "LARGEST ERRORS" not in said
    assert "MOST CONFLICT" in said


def test_the_document(lftreg: Lftreg, small: Version, registry: Registry) -> None:
    plain = lftreg("show", "small", "--json").document
    document = lftreg("show", "small", "--report", "--json").document
    report = document.pop("report")
    assert document == plain
    stored = Report.from_bytes(registry.read(small, ATTACHMENT))
    assert len(report["layers"]) == len(stored.layers) == 25
    assert report["parents"] == ["support@1", "finance@1"]
    assert report["energy"] == stored.energy
    assert report["vllm_rank"] == 8
    assert report["mean_cosine"] == stored.cosines[0][1]
    assert 0.3 < report["mean_conflict"] < 0.7


def test_where_there_is_no_report(lftreg: Lftreg, publish: Publish, desk: Version) -> None:
    error = lftreg("show", "support", "--report", "--json", code=2).error
    assert error["code"] == "not-composed"
    assert "nothing was composed" in error["message"]
    error = lftreg("show", "advisor_desk", "--report", "--json", code=2).error
    assert error["code"] == "no-report"
    assert "compose it again" in error["hint"]


def test_the_page_stands_alone_and_holds_the_numbers(
    lftreg: Lftreg, small: Version, registry: Registry, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "small.html"
    target.parent.mkdir()
    done = lftreg("show", "small", "--html", str(target), "--json")
    assert done.document["html"] == str(target)
    page = Page(target.read_text(encoding="utf-8"))
    assert page.stands_alone()
    report = Report.from_bytes(registry.read(small, ATTACHMENT))
    hints = [attributes["title"] for tag, attributes in page.tags if tag == "td" and "title" in attributes]
    assert len(hints) == 3 * len(report.layers)
    for layer in report.layers:
        assert layer.path in page.words
        assert any(hint and hint.startswith(f"{layer.path}: error {layer.error:.2f}") for hint in hints)
    assert [entry.name for entry in target.parent.iterdir()] == ["small.html"]


def test_a_page_never_takes_the_place_of_a_file(lftreg: Lftreg, small: Version, tmp_path: Path) -> None:
    target = tmp_path / "mine.html"
    target.write_text("mine")
    error = lftreg("show", "small", "--html", str(target), "--json", code=2).error
    assert error["code"] == "exists"
    assert target.read_text() == "mine"
    blocked = lftreg("show", "small", "--html", str(target / "x.html"), "--json", code=3).error
    assert blocked["code"] == "unknown-folder"


def test_names_of_strangers_are_words_on_the_page(
    lftreg: Lftreg, deep: Any, registry: Registry, tmp_path: Path
) -> None:
    base = replace(BASE, id="<script>alert('x')</script>", fingerprint="ef" * 32)
    deep("a", 1, base=base), deep("b", 2, base=base)
    compose(["a", "b"], name="mix", engine="factors", registry=registry)
    lftreg("show", "mix", "--html", "mix.html")
    page = Page((tmp_path / "mix.html").read_text(encoding="utf-8"))
    assert page.stands_alone()
    assert base.id in page.words


@needs_browser
def test_a_browser_shows_it_in_the_light_and_in_the_dark(
    lftreg: Lftreg, small: Version, tmp_path: Path
) -> None:
    lftreg("show", "small", "--html", "small.html")
    shots = [screenshot(tmp_path / "small.html", tmp_path, dark=dark) for dark in (False, True)]
    light, dark = (Image.open(shot).convert("RGB") for shot in shots)
    assert light.getpixel((2, 2)) == (255, 255, 255)
    assert dark.getpixel((2, 2)) == (18, 24, 31)
    # The heatmaps have their colours: many more than the few of words on a ground.
    for image in (light, dark):
        reds = [n for n, (r, g, b) in image.getcolors(1 << 24) or [] if r > g + 40 and r > b + 20]
        assert sum(reds) > 5000


def test_it_loads_no_model_library(environment: dict[str, str], small: Version, tmp_path: Path) -> None:
    modules = imported_by(environment, "show", "small", "--html", str(tmp_path / "x.html"))
    assert not modules & {*HEAVY, "PIL", "matplotlib"}
