"""Read the starter corpus: prose parts from a folder, code from this machine's Python.

A part is a list of whole documents. Whole documents (for code: whole packages, for customer
questions: whole topics) are the unit that is held out, so that no held-out figure is flattered by a
neighbour paragraph in the training text.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

BOS, PAD, SYSTEM, USER, ASSISTANT, END = SPECIALS = [
    "<|bos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
]  # fmt: skip

PROSE_FILES = {
    "support": ("support", "support2"),
    "finance": ("finance", "finance2"),
    "general": ("general",),
    "literature": ("literature", "literature2"),
    "qa": ("qa", "qa2"),
}

MAX_FILE, MAX_PACKAGE = 120_000, 5_000_000
FREE = {"mit", "bsd", "bsd-2-clause", "bsd-3-clause", "apache", "apache-2.0", "0bsd"}
CLASSIFIERS = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: BSD License": "BSD",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
}
SKIPPED_FOLDERS = {
    "test", "tests", "testing", "idlelib", "lib2to3", "turtledemo", "vendored", "externals", "extern",
    "site-packages", "__pycache__", "_vendor", "vendor", "third_party",
}  # fmt: skip
HELD_OUT_PACKAGES = {"h11", "pluggy", "cycler", "rouge_score", "platformdirs", "truststore", "iniconfig"}
# Only packages that a reader can name, and only those worth learning from: this project itself and
# the four giants' generated tables are left out by the size and data filters below.
SKIPPED_PACKAGES = {"lftreg", "torch", "types-setuptools"}


@dataclass
class Part:
    """Documents of one kind, split into those trained on and those held out."""

    train: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Package:
    """One source of code: what the model card has to name."""

    name: str
    version: str
    licence: str
    bytes: int
    held_out: bool


def split_documents(text: str) -> list[str]:
    """Documents are separated by a line that holds U+001E and nothing else."""
    return [doc for piece in text.split("\n\x1e\n") if (doc := piece.strip("\n\x1e"))]


def read_documents(path: Path) -> list[str]:
    """All documents of one compressed file."""
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as stream:
        return split_documents(stream.read())


def write_documents(path: Path, documents: list[str]) -> None:
    """The inverse of `read_documents`."""
    with lzma.open(path, "wt", encoding="utf-8", newline="\n", preset=6) as stream:
        stream.write("\n\x1e\n".join(documents))


def read_prose(folder: Path) -> dict[str, Part]:
    """The prose parts, with the held-out documents that come as files of their own."""
    parts = {}
    for name, files in PROSE_FILES.items():
        train = [doc for file in files for doc in read_documents(folder / f"{file}.txt.xz")]
        held_out = read_documents(folder / f"{name}.val.txt.xz")
        if name != "qa":  # only the chat-marked part may hold the special tokens
            train, held_out = [plain(doc) for doc in train], [plain(doc) for doc in held_out]
        parts[name] = Part(train, held_out)
    return parts


def plain(text: str) -> str:
    """Text in which nothing can be mistaken for a special token."""
    return re.sub(r"<\|(bos|pad|system|user|assistant|end)\|>", r"<| \1 |>", text)


def hashed(text: str) -> int:
    """A number that depends on the text alone: choices made with it are the same on every run."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def licence_of(package: metadata.Distribution) -> str | None:
    """The licence a package declares, or None where it is not wholly MIT, BSD or Apache."""
    info = package.metadata
    declared = info.get("License-Expression")
    if not declared:
        found = [CLASSIFIERS.get(c) for c in info.get_all("Classifier", []) if c.startswith("License ::")]
        found = [licence for licence in found if licence] if None not in found else []
        declared = found[0] if found else (info.get("License") or "").split("\n")[0].strip()
    words = re.sub(
        r"\b(license|licence|version|the)\b", " ", declared.lower().replace("apache 2.0", "apache-2.0")
    )
    names = set(re.split(r"\s+or\s+|\s+and\s+|[\s,/()]+", words)) - {"", "2.0"}
    return declared if names and names <= FREE else None


def is_code(text: str) -> bool:
    """False for tables, generated data and files that hold next to nothing."""
    letters = sum(c.isalpha() for c in text)
    digits = sum(c.isdigit() for c in text)
    long_lines = sum(len(line) > 140 for line in text.split("\n"))
    return (
        len(text) > 300 and letters > 5 * digits and long_lines * 20 < text.count("\n") and "\0" not in text
    )


def python_files(files: list[Path], root: Path) -> Iterator[str]:
    """The readable sources among `files`, up to the limit for one package, in an order that mixes folders."""
    taken = 0
    for path in sorted(files, key=lambda path: hashed(path.relative_to(root).as_posix())):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS & set(relative.parts[:-1]) or relative.name.startswith(("test_", "conftest")):
            continue
        if not path.is_file() or path.stat().st_size > MAX_FILE:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if is_code(text) and taken < MAX_PACKAGE:
            taken += len(text.encode())
            yield plain(text.replace("\x1e", " ").strip("\n"))


def collect_code() -> tuple[Part, list[Package]]:
    """The standard library of the running Python and the installed packages under free licences."""
    part, packages = Part(), []
    stdlib = Path(sysconfig.get_path("stdlib"))
    sources = [
        ("Python standard library", sys.version.split()[0], "PSF-2.0", list(stdlib.rglob("*.py")), stdlib)
    ]
    for package in sorted(metadata.distributions(), key=lambda package: package.metadata["Name"].lower()):
        name, licence = package.metadata["Name"], licence_of(package)
        if licence and name not in SKIPPED_PACKAGES:
            root = Path(str(package.locate_file(""))).resolve()
            files = [
                root / str(file)
                for file in package.files or []
                if file.suffix == ".py" and ".." not in file.parts
            ]
            sources.append((name, package.version, licence, files, root))
    for name, version, licence, files, root in sources:
        documents = list(python_files(files, root))
        held_out = name in HELD_OUT_PACKAGES
        (part.held_out if held_out else part.train).extend(documents)
        size = sum(len(document.encode()) for document in documents)
        if size:
            packages.append(Package(name, version, licence, size, held_out))
    return part, packages
