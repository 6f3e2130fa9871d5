from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lftreg.errors import InvalidData, LftregError, NotFound, StorageError, Unavailable
from lftreg.models.base import find_base, read_base, same_base
from lftreg.models.load import load_chat
from lftreg.registry import Registry


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the small LLaMA that a test may spoil."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "base"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_starter_is_built_in() -> None:
    starter = find_base("starter").record
    assert (starter.id, starter.model_type) == ("starter", "llama")
    assert 8e6 <= starter.parameters <= 16e6


def test_a_base_is_known_by_its_content_not_by_its_place(folder: Path, tiny_llama: Path) -> None:
    assert find_base(str(folder)).record.fingerprint == find_base(str(tiny_llama)).record.fingerprint
    edit(folder / "config.json", rms_norm_eps=0.1)
    assert find_base(str(folder)).record.fingerprint != find_base(str(tiny_llama)).record.fingerprint


def test_who_saved_a_config_does_not_change_the_base(folder: Path, tiny_llama: Path) -> None:
    edit(folder / "config.json", transformers_version="9.9", _name_or_path="elsewhere")
    assert find_base(str(folder)).record.fingerprint == find_base(str(tiny_llama)).record.fingerprint


def test_other_weights_are_another_base(folder: Path) -> None:
    before = find_base(str(folder)).record.fingerprint
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert find_base(str(folder)).record.fingerprint != before


def test_a_fingerprint_is_computed_once_and_remembered(folder: Path, registry: Registry) -> None:
    first = find_base(str(folder), registry).record
    weights = folder / "model.safetensors"
    seen = weights.stat()
    with weights.open("r+b") as file:  # same size, same times, same file: nobody could tell
        file.seek(-1, os.SEEK_END)
        file.write(b"\x77")
    os.utime(weights, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert find_base(str(folder), registry).record == first
    os.utime(weights)
    assert find_base(str(folder), registry).record.fingerprint != first.fingerprint


def test_an_adapter_is_not_put_on_a_changed_base(folder: Path) -> None:
    record = find_base(str(folder)).record
    edit(folder / "config.json", rms_norm_eps=0.1)
    with pytest.raises(NotFound, match="has changed") as error:
        same_base(record)
    assert error.value.code == "base-changed"


def test_a_cached_hub_model_is_found_without_a_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache's layout: `refs/main` names a commit, `snapshots/COMMIT` holds the files."""
    import huggingface_hub.constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    commit = "0" * 40
    (cache / "models--org--small" / "refs").mkdir(parents=True)
    (cache / "models--org--small" / "refs" / "main").write_text(commit)
    shutil.copytree(folder, cache / "models--org--small" / "snapshots" / commit)
    found = find_base("org/small")
    assert found.record.id == "org/small"
    assert found.record.fingerprint == find_base(str(folder)).record.fingerprint


def test_a_hub_model_that_is_not_cached_needs_a_network() -> None:
    with pytest.raises(Unavailable, match="not in the local cache"):
        find_base("org/never-downloaded")


SPOILT = {
    "no config": (lambda f: (f / "config.json").unlink(), NotFound, "no config.json"),
    "config not JSON": (lambda f: (f / "config.json").write_text("{"), InvalidData, "not JSON"),
    "config of nothing": (lambda f: (f / "config.json").write_text("{}"), InvalidData, "no model_type"),
    "config unreadable": (
        lambda f: ((f / "config.json").unlink(), (f / "config.json").mkdir()),
        StorageError,
        "cannot be read",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), NotFound, r"no model\.safetensors"),
    "pickle only": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        InvalidData,
        "pickled weights",
    ),
    "weights cut short": (lambda f: os.truncate(f / "model.safetensors", 50), InvalidData, "safetensors"),
}


@pytest.mark.parametrize(("spoil", "kind", "message"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_folder_is_named(folder: Path, spoil: object, kind: type[LftregError], message: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(kind, match=message) as error:
        find_base(str(folder))
    assert error.value.hint


@pytest.mark.parametrize("spec", ["./nowhere", "/nowhere/at/all", "~nobody/x", "a b", "../x", "http://x/y"])
def test_what_is_no_base_is_refused(spec: str) -> None:
    with pytest.raises(LftregError) as error:
        find_base(spec)
    assert error.value.exit_code in (3, 5)


def test_a_base_without_a_fast_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(InvalidData, match="tokenizer"):
        load_chat(find_base(str(folder)))


# A hub model in parts: what one command cached is not all that the next one needs.


@pytest.fixture
def cached(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only snapshot of org/model in an otherwise empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "cache" / "models--org--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("1" * 40)
    return Path(shutil.copytree(tiny_llama, model / "snapshots" / ("1" * 40)))


def test_a_config_is_read_without_weights(cached: Path) -> None:
    (cached / "model.safetensors").unlink()
    name, folder, config, code = read_base("org/model")
    assert (name, folder, config["model_type"], code) == ("org/model", cached, "llama", False)


def test_a_snapshot_without_weights_is_not_taken_for_whole(cached: Path) -> None:
    assert find_base("org/model").folder == cached
    (cached / "model.safetensors").unlink()
    with pytest.raises(Unavailable, match="only in part"):
        find_base("org/model")


def test_a_snapshot_that_lacks_a_shard_is_not_taken_for_whole(cached: Path) -> None:
    (cached / "model.safetensors").rename(cached / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (cached / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(Unavailable, match="only in part"):
        find_base("org/model")
