"""Folders for vLLM and Ray: by content, whole or not there, the same whoever makes them."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from lftreg.errors import CheckFailed, Incompatible, UsageError
from lftreg.paths import Home
from lftreg.registry import CONFIG, WEIGHTS, Base, Draft, Registry
from lftreg.remotes.vllm import check_servable, export_ray, ray_id, servable, vllm_folder
from tests.registry.conftest import BASE, draft  # noqa: F401 a fixture

Make = Callable[..., Draft]


def test_a_plain_adapter_is_served_at_the_next_rank(registry: Registry, draft: Make) -> None:  # noqa: F811
    found = servable(registry, registry.publish(draft()))
    assert found.document == {"vllm": True, "why": [], "max_lora_rank": 8}


def test_every_reason_is_told(registry: Registry, draft: Make) -> None:  # noqa: F811
    config = {**draft().config, "use_dora": True, "init_lora_weights": "pissa"}
    made = registry.publish(draft(config=config))
    assert len(servable(registry, made).why) == 2
    with pytest.raises(
        Incompatible, match=r"vLLM cannot serve support@1: it is a DoRA; it began as pissa"
    ) as told:
        check_servable(registry, made)
    assert told.value.code == "not-servable"


def test_the_folder_is_that_of_the_content(registry: Registry, draft: Make) -> None:  # noqa: F811
    one, same = (registry.publish(draft(name)) for name in ("support", "desk"))
    folder = vllm_folder(registry, one)
    assert folder == registry.home.exports / "vllm" / one.digest == vllm_folder(registry, same)
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}
    assert (folder / WEIGHTS).read_bytes() == registry.read(one, WEIGHTS)
    before = (folder / WEIGHTS).stat().st_ino
    assert vllm_folder(registry, one) == folder and (folder / WEIGHTS).stat().st_ino == before
    assert vllm_folder(registry, registry.publish(draft(seed=1))) != folder


def _spoil(folder: Path, how: str) -> None:
    weights = folder / WEIGHTS
    if how == "changed":  # a new file: the old one is the registry's own
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.unlink()
        weights.write_bytes(content)
    elif how == "lost":
        weights.unlink()
    elif how == "pickle":
        (folder / "adapter_model.bin").write_bytes(b"")
    elif how == "config":
        (folder / CONFIG).unlink()
        (folder / CONFIG).write_text("{")
    else:
        moved = folder.rename(folder.with_name("elsewhere"))
        folder.symlink_to(moved)


@pytest.mark.parametrize("how", ["changed", "lost", "pickle", "config", "link"])
def test_a_damaged_folder_is_made_again(registry: Registry, draft: Make, how: str) -> None:  # noqa: F811
    made = registry.publish(draft())
    _spoil(vllm_folder(registry, made), how)
    folder = vllm_folder(registry, made)
    assert not folder.is_symlink()
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}
    assert (folder / WEIGHTS).read_bytes() == registry.read(made, WEIGHTS)


def test_damage_of_the_registry_itself_is_not_handed_on(registry: Registry, draft: Make) -> None:  # noqa: F811
    made = registry.publish(draft())
    blob = registry.file(made, WEIGHTS)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(CheckFailed, match="not what was registered"):
        vllm_folder(registry, made)


def _ask(home: Path, start: object, answers: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    registry = Registry(Home(home))
    answers.put(str(vllm_folder(registry, registry.get("support"))))  # type: ignore[attr-defined]


def test_two_processes_at_once_make_one_folder(registry: Registry, draft: Make) -> None:  # noqa: F811
    made = registry.publish(draft())
    context = multiprocessing.get_context("spawn")
    start, answers = context.Event(), context.Queue()
    asking = [context.Process(target=_ask, args=(registry.home.root, start, answers)) for _ in range(2)]
    for process in asking:
        process.start()
    start.set()
    said = {answers.get(timeout=60) for _ in asking}
    for process in asking:
        process.join(60)
    assert said == {str(registry.home.exports / "vllm" / made.digest)}
    assert {path.name for path in (registry.home.exports / "vllm").iterdir()} == {".lock", made.digest}
    assert not list(registry.home.scratch.iterdir())


def test_the_layout_of_ray(registry: Registry, draft: Make, tmp_path: Path) -> None:  # noqa: F811
    support, desk = registry.publish(draft()), registry.publish(draft("desk", seed=1))
    index = export_ray(registry, [support, desk, support], tmp_path / "out")
    assert index == json.loads((tmp_path / "out" / "lftreg.json").read_text())
    assert [one["lora_id"] for one in index["adapters"]] == [ray_id(support), ray_id(desk)]
    assert index["max_lora_rank"] == 8
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert folders == {f"support-{support.digest[:12]}", f"desk-{desk.digest[:12]}"}
    for version in (support, desk):
        folder = tmp_path / "out" / ray_id(version)
        assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}
        assert (folder / WEIGHTS).read_bytes() == registry.read(version, WEIGHTS)
    with pytest.raises(UsageError, match="is there already"):
        export_ray(registry, [support], tmp_path / "out")


def test_ray_gets_nothing_that_cannot_be_served(registry: Registry, draft: Make, tmp_path: Path) -> None:  # noqa: F811
    good = registry.publish(draft())
    bad = registry.publish(draft("bad", config={**draft().config, "use_dora": True}))
    with pytest.raises(Incompatible, match=r"bad@1: it is a DoRA"):
        export_ray(registry, [good, bad], tmp_path / "out")
    other = registry.publish(draft("other", base=Base("e" * 64, "else", "llama", 1)))
    with pytest.raises(Incompatible, match="on 2 bases: else, starter") as told:
        export_ray(registry, [good, other], tmp_path / "out")
    assert told.value.code == "bases-differ" and BASE.id == "starter"
    assert not (tmp_path / "out").exists()
