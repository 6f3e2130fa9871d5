"""`lftreg doctor`"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from lftreg import __version__
from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.output import clean, wrapped
from lftreg.cli.tables import size
from lftreg.errors import CheckFailed, LftregError
from lftreg.paths import starter_folder

if TYPE_CHECKING:
    from rich.console import Console

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "safetensors", "sqlalchemy", "huggingface-hub")
LITTLE_SPACE = 1_000_000_000  # bytes; less than this and a base may not fit any more
STYLES = {"ok": ("✓", "green"), "note": ("·", "dim"), "bad": ("✗", "bold red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `bad` is what keeps lftreg from working, with what to do."""

    subject: str
    status: Literal["ok", "note", "bad"]
    detail: str
    hint: str | None = None


@define("doctor", examples=("lftreg doctor",))
def command(context: Context) -> None:
    """Check this installation.

    Looks at libraries, home, database, the starter base, hardware and plugins. Exits with 6
    where something keeps lftreg from working.
    """
    findings = [
        finding
        for look in (_libraries, _home, _database, _starter, _hardware, _plugins)
        for finding in look(context)
    ]
    bad = [finding for finding in findings if finding.status == "bad"]
    document = {"ok": not bad, "findings": [asdict(finding) for finding in findings]}
    context.out.result(document, partial(_render, findings))
    if bad:
        raise CheckFailed(f"{bad[0].subject}: {bad[0].detail}", bad[0].hint)


def _render(findings: Sequence[Finding], console: Console) -> None:
    from rich.text import Text

    margin = max(len(finding.subject) for finding in findings) + 2
    for finding in findings:
        mark, style = STYLES[finding.status]
        body = f"\n{'':{margin + 2}}".join(wrapped(clean(finding.detail), console.width - margin - 2))
        console.print(
            Text.assemble((f"{mark} ", style), (f"{finding.subject:{margin}}", "dim"), body), soft_wrap=True
        )


def _libraries(context: Context) -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

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


def _home(context: Context) -> Iterator[Finding]:
    root = context.home.root
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding("home", "bad", f"{nearest} cannot be written", "choose another folder with LFTREG_HOME")
        return
    free = shutil.disk_usage(nearest).free
    detail = f"{root}, {size(free)} free" + (
        "" if root.exists() else ", made by the first command that writes"
    )
    if free < LITTLE_SPACE:
        yield Finding("home", "note", f"{detail}, which is little")
    else:
        yield Finding("home", "ok", detail)


def _database(context: Context) -> Iterator[Finding]:
    where = context.settings.shown()["database_url"] or str(context.home.database)
    yield _attempt("database", lambda: _schema(context, where))


def _schema(context: Context, where: str) -> Finding:
    now, head = context.registry.schema()
    if now is None:
        return Finding("database", "ok", f"{where}, made by the first command that writes")
    if now != head:
        return Finding("database", "note", f"{where}, schema {now} of {head}", "lftreg db upgrade")
    return Finding("database", "ok", f"{where}, schema {now}")


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
        yield Finding("gpu", "ok", f"{card.name}, {size(card.total_memory)}")


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


def _attempt(subject: str, look: Callable[[], Finding]) -> Finding:
    """What `look` finds, or its error as a finding."""
    try:
        return look()
    except LftregError as error:
        return Finding(subject, "bad", error.message, error.hint)
