"""docs/api.md: the public names of the package, with the signatures and docstrings that the code gives them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import lftreg
from lftreg import testing, tutorial
from lftreg.training.settings import Settings

HEAD = """\
# Python

Written by `tools/docs.py` from the docstrings: change those, then `make docs`. Names that are not here are not
promised to stay.

- [`lftreg`](#lftreg): the verbs, the registry, and what plugins yield
- [`lftreg.testing`](#lftregtesting): assertions for the tests of a plugin
- [`lftreg.tutorial`](#lftregtutorial): the names that tutorials use; they are in `lftreg`, too
"""
NOT_OURS = {
    "hookimpl": "Marks a function of a plugin as one of the [hooks](plugins.md#the-hooks). "
    "`@hookimpl(optionalhook=True)` marks one that an older lftreg may not know.\n"
}
OPTIONS = """\
`options` of `train`, and the `defaults` that a `Domain` may have; `None` means: by the base and the data.

| option | default |
|---|---|
"""


def render() -> str:
    """The whole page."""
    public = [name for name in lftreg.__all__ if not name.startswith("_")]
    told = {name for name in public if getattr(lftreg, name).__module__ == tutorial.__name__}
    parts = [HEAD, "## lftreg\n"]
    for name in sorted(set(public) - told, key=str.lower):
        parts += entry(name, getattr(lftreg, name))
        if name == "train":
            parts.append(OPTIONS + "".join(options()))
    parts.append(f"## lftreg.testing\n\n{document(testing)}\n")
    for name in testing.__all__:
        parts += entry(name, getattr(testing, name))
    parts.append(f"## lftreg.tutorial\n\n{document(tutorial)}\n")
    for name in sorted(told, key=str.lower):
        parts += entry(name, getattr(lftreg, name))
    return "\n".join(parts)


def options() -> Iterator[str]:
    for field in dataclasses.fields(Settings):
        yield f"| `{field.name}` | `{field.default!r}` |\n"


def entry(name: str, value: Any) -> Iterator[str]:
    """A heading, a signature, the docstring, and the public members of a class."""
    yield f"### {name}\n"
    if name in NOT_OURS:
        yield NOT_OURS[name]
        return
    yield f"```text\n{signature(name, value)}\n```\n"
    if said := document(value):
        yield f"{said}\n"
    if inspect.isclass(value) and (lines := "".join(members(value))):
        yield lines


def members(owner: type) -> Iterator[str]:
    """A line a member: what is typed, and what the docstring says of it."""
    fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    for name, raw in vars(owner).items():
        if name.startswith("_") or name in fields:
            continue
        if isinstance(raw, property):
            told, said = name, raw.fget
        elif callable(raw) or isinstance(raw, classmethod):
            told, said = f"{name}{short(getattr(owner, name))}", raw
        else:
            continue
        text = " ".join(document(said).split())
        yield f"- `{told}`{f': {text}' if text else ''}\n"


def short(function: Any) -> str:
    """The parameters of a method in one line."""
    found = inspect.signature(function)
    return f"({', '.join(listed(own(found)))}){back(found)}"


def signature(name: str, value: Any) -> str:
    """`name(parameters) -> type`, a parameter a line where it is long."""
    found = inspect.signature(value)
    parameters = listed(own(found))
    returned = "" if inspect.isclass(value) else back(found)
    line = f"{name}({', '.join(parameters)}){returned}"
    if len(line) <= 88:
        return line
    return f"{name}(\n{''.join(f'    {text},{chr(10)}' for text in parameters)}){returned}"


def own(found: inspect.Signature) -> list[inspect.Parameter]:
    return [parameter for parameter in found.parameters.values() if parameter.name != "self"]


def listed(parameters: list[inspect.Parameter]) -> list[str]:
    """Parameters as they stand in the source, the star before the keywords among them."""
    texts, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            texts.append("*")
        starred = starred or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f" = {shown(parameter.default)}"
        texts.append(f"{mark}{parameter.name}: {hint(parameter.annotation)}{default}")
    return texts


def back(found: inspect.Signature) -> str:
    return "" if found.return_annotation is found.empty else f" -> {hint(found.return_annotation)}"


def hint(annotation: Any) -> str:
    """An annotation as it is written, without the packages that its names come from."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"(\w+\.)+(?=[A-Z]\w)", "", text)


def shown(default: object) -> str:
    """A default; what has no short form, such as a function, is three dots."""
    text = repr(default)
    return "..." if text.startswith("<") else text


def document(value: Any) -> str:
    """The docstring, which is Markdown already."""
    text = value.__doc__ or ""
    if inspect.isclass(value) and text.startswith(f"{value.__name__}("):
        return ""  # dataclass wrote it, and it says what the signature says
    return text.strip() if inspect.ismodule(value) else inspect.cleandoc(text)
