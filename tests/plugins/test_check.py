"""The check for authors finds every rule that a domain can break."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from lftreg.errors import InvalidData
from lftreg.plugins.check import (
    IMPORT_LIMIT,
    check_domain,
    check_import,
    check_method,
    check_targets,
    refuse_shared,
)
from lftreg.plugins.types import Domain, Example, Message, Method, Split, Targets

from .conftest import Install

COUNTER = itertools.count()


def _good(split: Split, seed: int) -> Iterator[Example]:
    yield Example.pair(f"{split} question", "answer", fact="one")


def _random(split: Split, seed: int) -> Iterator[Example]:
    yield Example.pair(f"{split} question {next(COUNTER)}", "answer")


def _leaky(split: Split, seed: int) -> Iterator[Example]:
    yield from _good(split, seed)
    yield Example.pair("the same question", f"answer for {split}")


def _empty(split: Split, seed: int) -> Iterator[Example]:
    if split != "validation":
        yield from _good(split, seed)


def _strange(split: Split, seed: int) -> list[Example]:
    return ["a text"]  # type: ignore[list-item]


def _failing(split: Split, seed: int) -> Iterator[Example]:
    raise FileNotFoundError("inbox.mbox")


def _exiting(split: Split, seed: int) -> Iterator[Example]:
    raise SystemExit(3)


def _mismarked(split: Split, seed: int) -> Iterator[Example]:
    yield from _good(split, seed)
    if split == "test":
        yield Example.pair("another", "answer", fact="never taught", seen=True)


def test_a_good_domain_has_no_problem() -> None:
    assert check_domain(Domain("good", "s", _good)) == []


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (_random, "gives other train examples for the same seed"),
        (_leaky, "has 1 prompts in both train and validation, such as 'the same question'"),
        (_empty, "has no validation examples"),
        (_strange, "yields a str for train, and no Example"),
        (_failing, "does not build: FileNotFoundError: inbox.mbox"),
        (_exiting, "does not build: SystemExit: 3"),
        (_mismarked, "marks 1 test rows wrongly as seen or unseen, such as fact 'never taught'"),
    ],
)
def test_a_broken_rule_is_named(build: Callable[[Split, int], Iterable[Example]], problem: str) -> None:
    assert problem in check_domain(Domain("bad", "s", build))


USER, ASSISTANT, SYSTEM = Message("user", "a?"), Message("assistant", "b"), Message("system", "c")


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ((), "it has neither messages nor a text"),
        ([USER, ASSISTANT], "its messages are a list, not a tuple"),
        ((USER, "b"), "its messages hold a str, not a Message"),
        ((USER, Message("bot", "b")), "role 'bot' is none of system, user, assistant, tool"),  # type: ignore[arg-type]
        ((USER, Message("assistant", " ")), "its assistant turn has no text"),
        ((Message("user", None), ASSISTANT), "its user turn has no text"),  # type: ignore[arg-type]
        ((USER, ASSISTANT, USER), "it ends with the user's turn, not with the assistant's"),
        ((SYSTEM, ASSISTANT), "it has no user turn"),
        ((USER, SYSTEM, ASSISTANT), "its system turn is not the first"),
    ],
)
def test_a_conversation_that_cannot_be_learned_from_is_named(messages: Any, problem: str) -> None:
    def build(split: Split, seed: int) -> list[Example]:
        return [Example.pair(f"{split}?", "yes"), Example(messages), Example(messages)]

    problems = check_domain(Domain("bad", "s", build))
    assert problems[0] == f"has a wrong train row 2: {problem}, and 1 more are wrong"
    assert len(problems) == 3  # each split has them


def test_a_whole_conversation_is_good() -> None:
    def build(split: Split, seed: int) -> list[Example]:
        return [Example((SYSTEM, Message("user", split), ASSISTANT, USER, ASSISTANT))]

    assert check_domain(Domain("good", "s", build)) == []


@pytest.mark.parametrize("label", ["calm", None])
def test_a_text_is_good_with_a_label_or_without(label: str | None) -> None:
    def build(split: Split, seed: int) -> list[Example]:
        return [Example.passage(f"a text for {split}", label)]

    assert check_domain(Domain("good", "s", build)) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"text": " "}, "its text is empty"),
        ({"text": 3}, "its text is empty"),
        ({"text": "a", "label": ""}, "its label is ''; it is a text or None"),
        ({"text": "a", "label": 3}, "its label is 3; it is a text or None"),
    ],
)
def test_a_text_that_cannot_be_learned_from_is_named(fields: Any, problem: str) -> None:
    def build(split: Split, seed: int) -> list[Example]:
        return [Example(**fields)]

    assert check_domain(Domain("bad", "s", build))[0] == f"has a wrong train row 1: {problem}"


def test_texts_are_split_like_prompts() -> None:
    def build(split: Split, seed: int) -> list[Example]:
        return [Example.passage("the same")]

    assert "has 1 prompts in both train and test, such as 'the same'" in check_domain(Domain("b", "s", build))


def test_a_prompt_that_is_trained_on_shows_nothing() -> None:
    domain = Domain("bad", "s", _good, prompts=("new?", "train question"))
    assert check_domain(domain) == ["shows itself off with a prompt that is in train: 'train question'"]


def test_a_domain_that_the_host_would_refuse_is_not_built() -> None:
    assert check_domain(Domain("bad", "", _failing)) == ["is refused: it has no summary"]


def test_a_good_target_map_has_no_problem() -> None:
    assert check_targets(Targets("opt", ("opt",), {"attention": ("q_proj", "self_attn.v_proj")})) == []


@pytest.mark.parametrize(
    ("types", "presets", "problem"),
    [
        (("opt", "opt"), {"mlp": ("fc1",)}, "names the model type 'opt' twice"),
        (("opt",), {"mlp": ("fc1", "fc1")}, "names 'fc1' twice in preset 'mlp'"),
        (("opt",), {"a,b": ("fc1",)}, "has a preset 'a,b'; `--targets` takes a-z, 0-9, dot"),
        *[
            (
                ("opt",),
                {"mlp": (name,)},
                f"names {name!r} in preset 'mlp', which is not the end of a module's",
            )
            for name in ("mlp.f*", ".fc1", "fc1.", "fc 1", "fc1,fc2", "mlp..fc1")
        ],
        (("opt",), {}, "is refused: presets is not a mapping with at least one preset"),
    ],
)
def test_a_target_map_that_cannot_match_is_named(types: Any, presets: Any, problem: str) -> None:
    (found,) = check_targets(Targets("opt", types, presets))
    assert found.startswith(problem)


def test_an_optional_name_is_in_a_preset() -> None:
    targets = Targets("t5", ("t5",), {"mlp": ("wi", "layer.*.wo")}, optional=("wi", "w1"))
    assert check_targets(targets) == ["calls 'w1' optional, which is in no preset"]


def _merge(model: Any, adapters: Any, weights: Any, name: str) -> None: ...


def test_a_method_says_what_it_needs_in_known_words() -> None:
    assert check_method(Method("mix", "mixes", _merge, exact=True, needs=("equal-ranks",))) == []
    wrong: Any = {"exact": "yes", "needs": ("two",)}
    problems = check_method(Method("mix", "mixes", _merge, **wrong))
    assert problems[0] == "says exact='yes'; it is True or False"
    assert problems[1].startswith("says needs=('two',); it is a tuple of 'several-parents' and")
    assert check_method(Method("mix", "", _merge)) == ["is refused: it has no summary"]


def test_a_module_that_imports_torch_is_told_of(install: Install) -> None:
    install("lftreg-heavy", "import torch.version as _\n")
    assert "imports torch; import it inside the function that needs it" in check_import(
        "lftreg_heavy", runs=1
    )


def test_a_slow_module_is_told_of(install: Install) -> None:
    install(
        "lftreg-slow",
        f"import time\nend = time.process_time() + {IMPORT_LIMIT * 4}\n"
        "while time.process_time() < end: pass\nprint('noise')\n",
    )
    (problem,) = check_import("lftreg_slow", runs=1)
    assert problem.endswith("ms to import; 50 are enough")


@pytest.mark.parametrize("source", ["import nothing_here", "raise SystemExit(0)"])
def test_a_module_that_cannot_be_imported_has_no_cost(install: Install, source: str) -> None:
    install("lftreg-gone", source)
    assert check_import("lftreg_gone", runs=1) == []


def test_prompts_on_two_sides_are_refused() -> None:
    splits: tuple[Split, ...] = ("train", "validation", "test")
    refuse_shared("legal", {split: [*_good(split, 0)] for split in splits})
    with pytest.raises(InvalidData, match="'legal' has 1 prompts in both train and validation, such as 'the"):
        refuse_shared("legal", {split: [*_leaky(split, 0)] for split in splits})
