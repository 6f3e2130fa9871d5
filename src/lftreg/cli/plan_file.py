"""A plan file: several adapters in one TOML document, each with its data and settings, for `lftreg train --plan`.

base = "starter"            # and any setting: what all adapters begin with

[adapters.support]
domain = "customer_support"
rank = 8

[adapters.inbox]
data = ["inbox.jsonl:2", "tickets.csv"]     # beside the plan file
map = {prompt = "Subject", response = "Reply"}
lr = 1e-3
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData, LftregError, NotFound

OPTIONS = ("base", "continue_from", "replay")
OWN = ("domain", "data", "map")
EXAMPLE = '[adapters.support] with domain = "customer_support" is the least of one'


@dataclass(frozen=True, slots=True)
class Planned:
    """One adapter of a plan file: its name, a domain or data, and the options that are its own."""

    name: str
    domain: str | None
    data: tuple[str, ...]
    mapping: tuple[str, ...]
    asked: Mapping[str, Any]


def read_plan_file(path: Path) -> list[Planned]:
    """The adapters of a plan file, in its order. Raises NotFound, or InvalidData for what it cannot mean."""
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError as error:
        raise NotFound(f"no file {path}", f"a plan file is TOML: {EXAMPLE}", code="unknown-file") from error
    except (OSError, ValueError, RecursionError) as error:  # what is no UTF-8 is a ValueError, too
        raise _wrong(path, f"cannot be read: {error}", f"it is TOML: {EXAMPLE}") from error
    adapters = found.pop("adapters", None)
    if not isinstance(adapters, dict) or not adapters:
        raise _wrong(path, "names no adapter", EXAMPLE)
    common = _options(path, found, "at its top", ())
    return [_planned(path, name, told, common) for name, told in adapters.items()]


def _planned(path: Path, name: str, told: Any, common: Mapping[str, Any]) -> Planned:
    where = f"in [adapters.{name}]"
    if not isinstance(told, dict):
        raise _wrong(path, f"has {name!r} where a table has to be", EXAMPLE)
    asked = {**common, **_options(path, told, where, OWN)}
    domain, data, mapping = told.get("domain"), told.get("data", []), told.get("map", {})
    data = [data] if isinstance(data, str) else data
    if domain is not None and not isinstance(domain, str):
        raise _wrong(path, f"has a domain {where} that is no text", EXAMPLE)
    if not isinstance(data, list) or not all(isinstance(one, str) for one in data):
        raise _wrong(
            path, f"has data {where} that are neither a text nor a list of them", 'data = ["a.jsonl"]'
        )
    if bool(domain) == bool(data):
        what = "both a domain and data" if data else "neither a domain nor data"
        raise _wrong(path, f"has {what} {where}", EXAMPLE)
    if not isinstance(mapping, dict) or not all(isinstance(one, str) for one in mapping.values()):
        raise _wrong(path, f"has a map {where} that is no table of texts", 'map = {prompt = "Subject"}')
    if mapping and domain:
        raise _wrong(path, f"has a map and a domain {where}", "a map tells the columns of data")
    columns = tuple(f"{role}={column}" for role, column in mapping.items())
    return Planned(name, domain, tuple(_beside(path, one) for one in data), columns, asked)


def _beside(plan: Path, word: str) -> str:
    """A file that is named relative to the plan."""
    remote = word.startswith(("hub:", "~"))
    return word if remote or Path(word).is_absolute() else str(plan.absolute().parent / word)


def _options(path: Path, told: Mapping[str, Any], where: str, own: tuple[str, ...]) -> dict[str, Any]:
    from lftreg.training import Settings

    known = {setting.name: setting.type for setting in fields(Settings)}
    asked = {}
    for key, value in told.items():
        if key in own:
            continue
        name = key.replace("-", "_")
        if name not in known and name not in OPTIONS:
            of = ", ".join(sorted({*known, *OPTIONS, *own}))
            raise _wrong(path, f"has {key!r} {where}, which is no setting", f"one of {of}")
        if name == "base" and isinstance(value, str) and value.startswith("."):
            value = _beside(path, value)
        asked[name] = _typed(
            path, name, value, str(known.get(name, "float" if name == "replay" else "str")), where
        )
    return asked


def _typed(path: Path, name: str, value: Any, kind: str, where: str) -> Any:
    """A value of the kind that a setting has; a whole number is a number too."""
    kinds: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
    wanted = kinds[kind.partition(" ")[0]]
    if wanted is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not wanted:
        words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[wanted]
        raise _wrong(path, f"has {name} = {value!r} {where}", f"give {words}")
    return value


def _wrong(path: Path, what: str, hint: str) -> LftregError:
    return InvalidData(f"{path} {what}", hint, code="invalid-plan")
