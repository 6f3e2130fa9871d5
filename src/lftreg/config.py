"""Settings, and where each of them came from.

A setting is looked for in this order: a flag of the command line, the environment, the nearest
`lftreg.toml` from the working folder upwards, the user's own file, the default. All of them are
strings or lists of strings under the keys of `KEYS`.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData, StorageError, UsageError
from lftreg.paths import Home, default_home

PROJECT_FILE = "lftreg.toml"
USER_FILE = "config.toml"


@dataclass(frozen=True, slots=True)
class Key:
    """A setting that exists: its environment variable, its default in words and what it does."""

    name: str
    variable: str
    default: str
    help: str
    many: bool = False
    secret: bool = False


KEYS = (
    Key("home", "LFTREG_HOME", "", "the folder that holds registry and files"),
    Key("database_url", "LFTREG_DATABASE_URL", "", "a database other than SQLite in the home", secret=True),
    Key(
        "blobs",
        "LFTREG_BLOBS",
        "",
        "a folder for the adapters' files, shared by a team, instead of the home's",
    ),
    Key("base", "LFTREG_BASE", "starter", "the base model of new adapters"),
    Key(
        "engine",
        "LFTREG_ENGINE",
        "auto",
        "what composes where a method leaves the choice: auto, peft, factors",
    ),
    Key(
        "plugins",
        "LFTREG_PLUGINS",
        "",
        "packages whose plugins you trust to run, by name; * is all that are installed",
        many=True,
    ),
    Key("plugins_off", "LFTREG_PLUGINS_OFF", "", "plugins that are not loaded, by name", many=True),
    Key(
        "price_per_hour",
        "LFTREG_PRICE_PER_HOUR",
        "",
        "US dollars that an hour of the machine that trains costs you",
    ),
    Key("remote_silence", "LFTREG_REMOTE_SILENCE", "30", "seconds that a hub may say nothing"),
    Key("remote_deadline", "LFTREG_REMOTE_DEADLINE", "3600", "seconds that a push or a pull may take"),
)
_BY_NAME = {key.name: key for key in KEYS}


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, decided. `origins` names the place of each value."""

    home: Home
    database_url: str | None = None
    base: str = "starter"
    engine: str = "auto"
    plugins: tuple[str, ...] = ()
    plugins_off: tuple[str, ...] = ()
    price_per_hour: float | None = None
    remote_silence: float = 30.0
    remote_deadline: float = 3600.0
    origins: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """The values as people and scripts may read them: passwords are left out."""
        url = self.database_url
        return {
            "home": str(self.home.root),
            "database_url": None if url is None else without_password(url),
            "blobs": str(self.home.blobs),
            "base": self.base,
            "engine": self.engine,
            "plugins": list(self.plugins),
            "plugins_off": list(self.plugins_off),
            "price_per_hour": self.price_per_hour,
            "remote_silence": self.remote_silence,
            "remote_deadline": self.remote_deadline,
        }


def load_settings(flags: Mapping[str, str] | None = None, start: Path | None = None) -> Settings:
    """Decide every setting. `flags` are what was typed; `start` is the working folder.

    Raises InvalidData for a file that is not TOML or holds an unknown key or a wrong type.
    """
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in _layers(flags or {}, start or Path.cwd()):
        for name, value in values.items():
            if name not in found:
                found[name], origins[name] = value, origin
    return Settings(
        home=_home(found.get("home"), found.get("blobs")),
        database_url=found.get("database_url"),
        base=found.get("base", _BY_NAME["base"].default),
        engine=found.get("engine", _BY_NAME["engine"].default),
        plugins=tuple(found.get("plugins", ())),
        plugins_off=tuple(found.get("plugins_off", ())),
        price_per_hour=_dollars(found.get("price_per_hour"), origins.get("price_per_hour")),
        remote_silence=_seconds(found, origins, "remote_silence"),
        remote_deadline=_seconds(found, origins, "remote_deadline"),
        origins={key.name: origins.get(key.name, "default") for key in KEYS},
    )


def without_password(url: str) -> str:
    """A database's URL as it may be shown."""
    url = re.sub(r"(://[^:/?@]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", url)


def _home(root: str | None, shared: str | None) -> Home:
    home = default_home() if root is None else Home(Path(root).expanduser().absolute())
    return home if shared is None else replace(home, shared=Path(shared).expanduser().absolute())


def _dollars(text: str | None, origin: str | None) -> float | None:
    """A price as a number. Raises InvalidData for what is none."""
    if text is None:
        return None
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise InvalidData(f"price_per_hour in {origin} is {text!r}", "it must be US dollars, such as 2.49")
    return price


def _seconds(found: Mapping[str, str], origins: Mapping[str, str], name: str) -> float:
    """A time as a number. Raises InvalidData for what is none."""
    text = found.get(name, _BY_NAME[name].default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidData(f"{name} in {origins.get(name)} is {text!r}", "it must be seconds, such as 60")
    return seconds


def _layers(flags: Mapping[str, str], start: Path) -> list[tuple[str, dict[str, Any]]]:
    """The places a setting may come from, the strongest first."""
    layers: list[tuple[str, dict[str, Any]]] = [("flag", dict(flags))]
    for key in KEYS:
        if text := os.environ.get(key.variable):
            layers.append((key.variable, {key.name: _names(text) if key.many else text}))
    if (project := project_file(start)) is not None:
        layers.append((str(project), _of_project(project)))
    return [*layers, (str(user_file()), read_file(user_file()))]


def _of_project(path: Path) -> dict[str, Any]:
    """The settings of a project's file, which may be a stranger's: whose code runs is for its user to say."""
    values = read_file(path)
    if "plugins" in values:
        raise InvalidData(
            f"{path} lists plugins, which a project's file may not",
            "take the line out; `lftreg plugins enable NAME` lists one in your own file",
            code="plugins-of-a-project",
        )
    return values


def project_file(start: Path) -> Path | None:
    """The nearest `lftreg.toml`, from `start` upwards."""
    return next((f / PROJECT_FILE for f in (start, *start.parents) if (f / PROJECT_FILE).is_file()), None)


def user_file() -> Path:
    """The user's own file, whether it exists or not."""
    import platformdirs  # 10 ms that `--help` need not pay

    return Path(platformdirs.user_config_dir("lftreg", appauthor=False)) / USER_FILE


def read_file(path: Path) -> dict[str, Any]:
    """The settings of a file, checked; of a file that is not there, none. Folders are taken from the file's own."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidData(f"{path} is not TOML: {error}", "correct or remove the file") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    for name, value in values.items():
        key = known_key(name, f" in {path}")
        if key.many:
            right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        else:
            right = isinstance(value, str)
        if not right:
            wanted = 'a list such as ["one", "two"]' if key.many else "a text in quotes"
            raise InvalidData(f"{name} in {path} is {value!r}", f"it must be {wanted}")
    for folder in ("home", "blobs"):
        if folder in values:
            values[folder] = str(path.parent / Path(values[folder]).expanduser())
    return values


def known_key(name: str, where: str = "") -> Key:
    """The key of this name. Raises UsageError with the nearest one."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    import difflib

    near = difflib.get_close_matches(name.replace("-", "_"), _BY_NAME, n=1)
    question = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"unknown setting {name!r}{where}.{question}",
        f"settings: {', '.join(_BY_NAME)}",
        code="unknown-setting",
    )


def write_setting(path: Path, name: str, value: str | None) -> None:
    """Set a key of a file, or take it out where `value` is None. Comments and other keys stay as they are.

    A list is given with commas. Raises UsageError for an unknown key, InvalidData for a file
    that cannot be edited safely, and leaves the file alone then.
    """
    key = known_key(name)
    before = read_raw(path)
    after = {k: v for k, v in tomllib.loads(before).items() if k != name}
    # A file holds one key a line; whatever is laid out otherwise is for its author to change.
    lines = [line for line in before.splitlines() if not re.match(rf"\s*{re.escape(name)}\s*=", line)]
    if value is not None:
        after[name] = _names(value) if key.many else value
        lines.append(f"{name} = {_toml(after[name])}")
    text = "".join(line + "\n" for line in lines)
    try:
        edited = tomllib.loads(text)
    except ValueError:
        edited = None
    if edited != after:
        raise InvalidData(f"{name} in {path} cannot be changed safely", "edit the file by hand")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read_raw(path: Path) -> str:
    """A file's text, proven to be valid settings; "" where there is none."""
    read_file(path)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _toml(value: str | list[str]) -> str:
    """A value as TOML: a basic string is JSON's but for the delete character."""
    import json

    return json.dumps(value).replace("\x7f", "\\u007f")
