"""Adapters as folders: what PEFT writes and reads."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from lftreg.errors import InvalidData, NotFound
from lftreg.outputs import whole_output
from lftreg.registry import CONFIG, WEIGHTS, Base, Draft, Registry, Version
from lftreg.tensors import check_adapter

PICKLES = ("adapter_model.bin", "adapter_model.pt", "pytorch_model.bin")


def export_folder(registry: Registry, version: Version, output: Path) -> Path:
    """Write weights and configuration to a new folder, which appears whole or not at all.

    Raises UsageError where something is there already.
    """
    with whole_output(output, "folder") as folder:
        folder.mkdir()
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(registry.file(version, name), folder / name)
    return output


def import_folder(registry: Registry, path: Path, *, name: str, base: Base) -> Version:
    """Take in a PEFT folder through the gate. The checks run on a private copy, which is what is stored.

    Raises NotFound for a folder without an adapter and InvalidData, with a code, for one to refuse.
    """
    registry.check_name(name)
    if not path.is_dir():
        raise NotFound(f"there is no folder {path}", "give the folder that holds adapter_config.json")
    _refuse_code_and_pickles(path)
    with tempfile.TemporaryDirectory(prefix="lftreg-") as scratch:
        copies = [_copied(path / file, Path(scratch) / file) for file in (WEIGHTS, CONFIG)]
        checked = check_adapter(*copies)
        config = dict(checked.config) | {"base_model_name_or_path": base.id}
        return registry.publish(Draft(name, "imported", base, checked.weights, config))


def _refuse_code_and_pickles(path: Path) -> None:
    pickled = [name for name in PICKLES if (path / name).exists()]
    if pickled:
        raise InvalidData(
            f"{pickled[0]} is a pickle, which can run code when it is opened",
            "save the adapter again with safe_serialization; only safetensors comes in",
            code="pickle",
        )
    code = next(path.glob("*.py"), None)
    if code is not None:
        raise InvalidData(
            f"{code.name} is code, and an adapter has none", "remove it if you trust the rest", code="code"
        )


def _copied(source: Path, target: Path) -> Path:
    """Copy a regular file that is no link, through one open handle: nobody can swap it meanwhile."""
    try:
        handle = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise NotFound(
            f"{source.parent} has no {source.name}", "is it a PEFT adapter?", code="no-adapter"
        ) from error
    except OSError as error:
        raise InvalidData(
            f"{source.name} cannot be opened as a file ({error.strerror})",
            "links do not come in",
            code="not-a-file",
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidData(
            f"{source.name} is not a regular file", "links and devices do not come in", code="not-a-file"
        )
    with os.fdopen(handle, "rb") as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
    return target
