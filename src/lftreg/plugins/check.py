"""The rules that a plugin has to keep, checked by using it: each function gives what is wrong, in sentences.

Only what can be judged from the plugin alone is judged here. `lftreg.testing` adds what the rooms
above know, such as which training settings there are; it is what authors and `lftreg plugins check` call.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from lftreg.errors import InvalidData, LftregError
from lftreg.plugins.offers import DOMAIN, METHOD, TARGETS
from lftreg.plugins.types import SPLITS, Domain, Example, Message, Method, Need, Role, Split, Targets

IMPORT_LIMIT = 0.050  # seconds; every command that asks plugins pays for all of them
HEAVY = ("torch", "transformers", "peft", "accelerate")
_ROLES: tuple[str, ...] = get_args(Role)
_NEEDS: tuple[str, ...] = get_args(Need)
_SUFFIX = re.compile(r"([A-Za-z0-9_]+|\*)(\.([A-Za-z0-9_]+|\*))*")  # of a module's path; * is any one part
_PRESET = re.compile(r"[a-z0-9][a-z0-9._-]*")  # no comma: `--targets` is a list
_TIMED_IMPORT = """
import importlib, json, sys, time
import lftreg.plugins.spec
module, sys.path, heavy = json.loads(sys.stdin.read())
printed, sys.stdout = sys.stdout, sys.stderr
started = time.process_time()  # of this process alone, however busy the machine is
importlib.import_module(module)
seconds = time.process_time() - started
print(json.dumps([seconds, [name for name in heavy if name in sys.modules]]), file=printed)
"""


def check_import(module: str, runs: int = 3) -> list[str]:
    """What is wrong with importing a plugin: too slow, or it loads torch or its friends.

    Each run is a process of its own; the fastest counts. A module that cannot be imported has
    no cost to speak of: the host's faults tell of that.
    """
    fastest, loaded = float("inf"), []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", _TIMED_IMPORT],
            input=json.dumps([module, sys.path, HEAVY]),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not done.stdout:  # it failed, or called sys.exit(0)
            return []
        seconds, loaded = json.loads(done.stdout)
        fastest = min(fastest, seconds)
    problems = [f"imports {name}; import it inside the function that needs it" for name in loaded]
    if fastest > IMPORT_LIMIT:
        problems.append(f"takes {fastest * 1000:.0f} ms to import; {IMPORT_LIMIT * 1000:.0f} are enough")
    return problems


def check_domain(domain: Domain, seed: int = 0) -> list[str]:
    """What is wrong with a domain, as sentences that go on from its name; nothing if it is right.

    Whatever its `build` raises is one of them: it is a stranger's code.
    """
    if problem := DOMAIN.problem(domain):
        return [f"is refused: {problem}"]
    try:
        splits = {split: tuple(domain.build(split, seed)) for split in SPLITS}
        again = {split: tuple(domain.build(split, seed)) for split in SPLITS}
    except (Exception, SystemExit) as error:  # noqa: BLE001 a plugin may raise anything
        cause = error.__cause__ if isinstance(error, LftregError) and error.__cause__ else error
        return [f"does not build: {type(cause).__name__}: {cause}"]
    broken = [*_broken_rows(splits)]
    return broken or [*_broken_rules(splits, again), *_broken_prompts(domain, splits["train"])]


def check_targets(targets: Targets) -> list[str]:
    """What is wrong with a target map by itself, as sentences that go on from its family's name."""
    if problem := TARGETS.problem(targets):
        return [f"is refused: {problem}"]
    problems = [f"names the model type {name!r} twice" for name in _twice(targets.model_types)]
    for preset, names in targets.presets.items():
        if not isinstance(preset, str) or not _PRESET.fullmatch(preset):
            problems.append(f"has a preset {preset!r}; `--targets` takes a-z, 0-9, dot, dash and underscore")
        problems += [f"names {name!r} twice in preset {preset!r}" for name in _twice(names)]
        problems += [
            f"names {name!r} in preset {preset!r}, which is not the end of a module's dotted path"
            for name in names
            if not _SUFFIX.fullmatch(name)
        ]
    named = {name for names in targets.presets.values() for name in names}
    problems += [
        f"calls {name!r} optional, which is in no preset" for name in targets.optional if name not in named
    ]
    return problems


def check_method(method: Method) -> list[str]:
    """What is wrong with how a method describes itself, as sentences that go on from its name."""
    if problem := METHOD.problem(method):
        return [f"is refused: {problem}"]
    problems = []
    exact: Any = method.exact  # a stranger's dataclass may hold anything
    needs: Any = method.needs
    if not isinstance(exact, bool):
        problems.append(f"says exact={exact!r}; it is True or False")
    if not isinstance(needs, tuple) or not all(need in _NEEDS for need in needs):
        problems.append(f"says needs={needs!r}; it is a tuple of {' and '.join(map(repr, _NEEDS))}")
    return problems


def refuse_shared(name: str, splits: Mapping[Split, Sequence[Example]]) -> None:
    """Raises InvalidData for a domain that trains on a prompt which it also holds out."""
    trained = {_prompt(row) for row in splits["train"]} - {""}
    for split in ("validation", "test"):
        shared = {_prompt(row) for row in splits[split]} & trained
        if shared:
            raise InvalidData(
                f"domain {name!r} has {len(shared)} prompts in both train and {split}, "
                f"such as {min(shared)[:60]!r}",
                "what is held out must not be trained on: give each prompt one split",
                code="shared-rows",
            )


def _broken_rows(splits: dict[Split, tuple[Example, ...]]) -> Iterator[str]:
    """Of each split, how many rows cannot be used, and the first of them."""
    for split, rows in splits.items():
        strangers = [row for row in rows if not isinstance(row, Example)]
        if strangers:
            yield f"yields a {type(strangers[0]).__name__} for {split}, and no Example"
            continue
        broken = [(number, problem) for number, row in enumerate(rows, 1) if (problem := _row_problem(row))]
        if broken:
            number, problem = broken[0]
            rest = f", and {len(broken) - 1} more are wrong" if len(broken) > 1 else ""
            yield f"has a wrong {split} row {number}: {problem}{rest}"


def _row_problem(row: Example) -> str | None:
    """What is wrong with one row. Each kind of row is judged by the field that holds it."""
    text: Any = row.text  # a stranger's dataclass may hold anything
    if row.messages or not text:
        return _conversation_problem(row.messages)
    if not isinstance(text, str) or not text.strip():
        return "its text is empty"
    label: Any = row.label
    if label is not None and (not isinstance(label, str) or not label.strip()):
        return f"its label is {label!r}; it is a text or None"
    return None


def _conversation_problem(messages: Any) -> str | None:
    if not isinstance(messages, tuple):
        return f"its messages are a {type(messages).__name__}, not a tuple"
    if not messages:
        return "it has neither messages nor a text"
    for message in messages:
        if not isinstance(message, Message):
            return f"its messages hold a {type(message).__name__}, not a Message"
        if message.role not in _ROLES:
            return f"role {message.role!r} is none of {', '.join(_ROLES)}"
        if not isinstance(message.content, str) or not (message.content.strip() or message.calls):
            return f"its {message.role} turn has no text"
    roles = [message.role for message in messages]
    if roles[-1] != "assistant":
        return f"it ends with the {roles[-1]}'s turn, not with the assistant's"
    if "user" not in roles:
        return "it has no user turn"
    return "its system turn is not the first" if "system" in roles[1:] else None


def _broken_rules(
    splits: dict[Split, tuple[Example, ...]], again: dict[Split, tuple[Example, ...]]
) -> Iterator[str]:
    for split in SPLITS:
        if _digest(splits[split]) != _digest(again[split]):
            yield f"gives other {split} examples for the same seed"
    for split in ("train", "validation"):
        if not splits[split]:
            yield f"has no {split} examples"
    prompts = {split: {_prompt(row) for row in splits[split]} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        shared = prompts[one] & prompts[other]
        if shared:
            yield f"has {len(shared)} prompts in both {one} and {other}, such as {min(shared)!r}"
    taught = {row.fact for row in splits["train"] if row.fact is not None}
    wrong = [row.fact for row in splits["test"] if row.fact is not None and row.seen != (row.fact in taught)]
    if wrong:
        yield f"marks {len(wrong)} test rows wrongly as seen or unseen, such as fact {wrong[0]!r}"


def _broken_prompts(domain: Domain, train: Iterable[Example]) -> Iterator[str]:
    """A question that was trained on shows nothing but memory."""
    trained = {_prompt(row) for row in train}
    for prompt in domain.prompts:
        if prompt in trained:
            yield f"shows itself off with a prompt that is in train: {prompt!r}"


def _prompt(row: Example) -> str:
    """All that is said before the last answer, or the text."""
    return "\n".join(message.content for message in row.messages[:-1]) or row.text


def _twice(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def _digest(rows: Iterable[Example]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()
