"""What `lftreg doctor` looks at of an installation: each look yields findings."""

from __future__ import annotations

import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lftreg import __version__
from lftreg.cli.context import Context
from lftreg.cli.tables import size
from lftreg.errors import LftregError
from lftreg.paths import starter_folder

LIBRARIES = (
    "torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "sqlalchemy", "huggingface-hub",
)  # fmt: skip
LITTLE_SPACE = 1_000_000_000  # bytes; less than this and a base may not fit any more
NO_SPACE = 20_000_000  # bytes; less than this and not even an adapter does
# What can be installed besides, by the name of the extra: modules that it brings, and what is missed without.
EXTRAS = {
    "parquet": (("pyarrow",), "Parquet files as --data"),
    "eval": (("sacrebleu", "rouge_score", "bm25s", "scipy"), "some metrics of evaluation"),
    "harness": (("lm_eval",), "benchmarks of lm-evaluation-harness"),
    "gguf": (("gguf",), "export to GGUF"),
    "postgres": (("psycopg",), "a registry in PostgreSQL"),
    "sweep": (("optuna",), "a search over training settings"),
}


def look_around(context: Context) -> list[Finding]:
    """All findings, in the order of a page."""
    looks = (
        _libraries,
        _quantization,
        _extras,
        _home,
        _shared,
        _database,
        _starter,
        _hardware,
        _plugins,
        _runs,
    )
    return [finding for look in looks for finding in look(context)]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `bad` is what keeps lftreg from working, with what to do."""

    subject: str
    status: Literal["ok", "note", "bad"]
    detail: str
    hint: str | None = None


def _libraries(context: Context) -> Iterator[Finding]:
    yield Finding("lftreg", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Finding("libraries", "ok", ", ".join(found))
    for name in missing:
        yield Finding(name, "bad", "is not installed", f"pip install {name}")


def _quantization(context: Context) -> Iterator[Finding]:
    """bitsandbytes is asked for only by --quantize, and fails to load more often than others."""
    logging.disable(logging.WARNING)  # of kernels that it can do without
    try:
        release = version("bitsandbytes")
        import bitsandbytes  # noqa: F401 whether it loads is the question
    except PackageNotFoundError:
        yield Finding("bitsandbytes", "note", "not here; --quantize needs it", "pip install bitsandbytes")
    except Exception as error:  # noqa: BLE001 it loads a library of its own, which may fail in any way
        yield Finding(
            "bitsandbytes",
            "note",
            f"does not load, so --quantize will not work: {error}",
            "pip install -U bitsandbytes",
        )
    else:
        yield Finding("bitsandbytes", "ok", f"{release}, for --quantize")
    finally:
        logging.disable(logging.NOTSET)


def _extras(context: Context) -> Iterator[Finding]:
    lacking = {name: why for name, (modules, why) in EXTRAS.items() if not all(map(find_spec, modules))}
    here = [name for name in EXTRAS if name not in lacking]
    if here:
        yield Finding("extras", "ok", ", ".join(here))
    for name, why in lacking.items():
        yield Finding(
            f"extra {name}", "note", f"not installed; it is for {why}", f"pip install 'lftreg[{name}]'"
        )


def _home(context: Context) -> Iterator[Finding]:
    root = context.home.root
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if not nearest.is_dir():
        yield Finding("home", "bad", f"{nearest} is no folder", "choose a folder with LFTREG_HOME")
        return
    if not os.access(nearest, os.W_OK):
        yield Finding("home", "bad", f"{nearest} cannot be written", "choose another folder with LFTREG_HOME")
        return
    shut = [folder for folder in _parts(root) if not os.access(folder, os.W_OK | os.X_OK)]
    if shut:
        yield Finding("home", "bad", f"{shut[0]} cannot be written", f"chmod -R u+rwX {root}")
        return
    free = shutil.disk_usage(nearest).free
    made = "" if root.exists() else " (made by the first command that writes)"
    detail = f"{root}{made}, {size(free)} free"
    if free < NO_SPACE:
        yield Finding(
            "home", "bad", f"{detail}, which is too little", "free some space, or choose another --home"
        )
    elif free < LITTLE_SPACE:
        yield Finding("home", "note", f"{detail}, which is little", "free some space before the next run")
    else:
        yield Finding("home", "ok", detail)


def _shared(context: Context) -> Iterator[Finding]:
    """The folder of files that a team has in common, where there is one."""
    folder = context.home.shared
    if folder is None:
        return
    if not folder.is_dir():
        yield Finding("files", "bad", f"{folder} is not there", "is it mounted? otherwise make it")
        return
    shut = [part for part in _parts(folder) if not os.access(part, os.W_OK | os.X_OK)]
    if shut:
        hint = f"chmod -R g+rwX {folder}; find {folder} -type d -exec chmod g+s {{}} +"
        yield Finding("files", "bad", f"{shut[0]} cannot be written", hint)
        return
    free = shutil.disk_usage(folder).free
    status: Literal["ok", "note", "bad"] = (
        "ok" if free >= LITTLE_SPACE else "note" if free >= NO_SPACE else "bad"
    )
    yield Finding(
        "files", status, f"{folder}, {size(free)} free", None if status == "ok" else "free some space"
    )


def _parts(root: Path) -> list[Path]:
    """The folders of a home that commands write to, as far as they are there."""
    return [folder for folder in (root, *sorted(root.glob("*/"))) if folder.is_dir()]


def _database(context: Context) -> Iterator[Finding]:
    where = context.settings.shown()["database_url"] or str(context.home.database)
    yield _attempt("database", lambda: _schema(context, where))


def _schema(context: Context, where: str) -> Finding:
    now, head = context.registry.schema()
    if now is not None and now < head:  # which whoever reads moves on, and doctor only looks
        return Finding("database", "note", f"{where}, schema {now} of {head}", "lftreg db upgrade")
    context.registry.check_files()
    state = "made by the first command that writes" if now is None else f"schema {now}"
    return Finding("database", "ok", f"{where}, {state}")


def _starter(context: Context) -> Iterator[Finding]:
    folder = starter_folder()
    missing = [
        name
        for name in ("config.json", "model.safetensors", "tokenizer.json")
        if not (folder / name).is_file()
    ]
    if missing:
        yield Finding("starter", "bad", f"{', '.join(missing)} missing in {folder}", "install lftreg again")
    else:
        yield Finding("starter", "ok", f"{size((folder / 'model.safetensors').stat().st_size)} in {folder}")


def _hardware(context: Context) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cpu", "ok", f"{cores} cores, {platform.machine()}{_memory()}")
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", "bad", f"does not load: {error}", "pip install --force-reinstall torch")
        return
    if not torch.cuda.is_available():
        yield Finding("gpu", "note", "none that torch can use; small bases train on the CPU")
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        bf16 = "" if card.major >= 8 else ", too old for bfloat16"
        yield Finding("gpu", "ok", f"{card.name}, {size(card.total_memory)}, CUDA {torch.version.cuda}{bf16}")


def _memory() -> str:
    """Total memory, where the system tells it."""
    try:
        return f", {size(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))}"
    except (ValueError, OSError, AttributeError):
        return ""


def _plugins(context: Context) -> Iterator[Finding]:
    host = context.host
    counts = f"{len(host.domains())} domains, {len(host.targets())} families, {len(host.methods())} methods"
    yield Finding("plugins", "ok" if not host.faults else "note", counts)
    for fault in host.faults:
        yield Finding("plugin", "note", str(fault), fault.run)
    context.faults_told = True


def _runs(context: Context) -> Iterator[Finding]:
    from lftreg.training.runs import Runs

    if not context.home.runs.is_dir():
        return
    open_runs = [run for run in Runs(context.home).list() if run.resumable]
    if open_runs:
        named = f"{len(open_runs)} can go on, the newest is {open_runs[0].id}"
        yield Finding("runs", "note", named, f"lftreg train {open_runs[0].id} --resume")


def _attempt(subject: str, look: Callable[[], Finding]) -> Finding:
    """What `look` finds, or its error as a finding."""
    try:
        return look()
    except LftregError as error:
        return Finding(subject, "bad", error.message, error.hint)
