"""Every family answers in the engine as it does by itself, whether its rows can share a pass or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lftreg import Registry
from lftreg.models.answers import prompt_rows
from lftreg.models.base import find_base
from lftreg.models.generate import Decoding, Speaker
from lftreg.models.load import load_base
from lftreg.plugins.types import Message
from lftreg.serving.engine import Engine
from tests.conftest import TINY

from .adapters import ask, put

QUESTIONS = ("How do I send a parcel back?", "What is a bond, and who sells one to whom?")
FAMILIES = [name for name, (loader, _) in TINY.items() if not loader.endswith("MaskedLM")]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family(family: str, tiny: Callable[[str], Path], registry: Registry) -> None:
    base = find_base(str(tiny(family)), registry)
    loaded = load_base(base)
    for seed in range(3):
        put(registry, loaded, f"a{seed}", seed, rank=(4, 8, 20)[seed], scale=2.0)
    asked = ["a0", "a1", "a2", f"base:{base.record.id}"]
    speaker = Speaker(asked, registry)
    expected = {
        (name, question): speaker.answer(name, [question], Decoding(10))[0].text
        for name in asked
        for question in QUESTIONS
    }
    engine = Engine(loaded, registry, rows=4, slots=4)
    try:
        assert engine.batched == (family != "t5")
        heard = {}
        for name, question in expected:
            (ids,) = prompt_rows(loaded, [[Message("user", question)]])
            heard[name, question] = ask(engine, name, ids, max_tokens=10)
        assert {key: one.text.strip() for key, one in heard.items()} == expected
        assert len(set(expected.values())) > len(QUESTIONS), "the adapters change nothing"
    finally:
        engine.close()


def test_a_window_that_is_too_short_keeps_rows_apart(
    tmp_path: Path, tiny: Callable[[str], Path], registry: Registry
) -> None:
    """A cache that shows every earlier token would be wrong for a family that must not see them."""
    from tests.conftest import save_tiny

    folder = tmp_path / "window"
    save_tiny("mistral", folder, sliding_window=16)
    base = find_base(str(folder), registry)
    loaded = load_base(base)
    put(registry, loaded, "a0", 0, scale=2.0)
    question = (
        "What happens when a parcel is lost on its way to the customer, and who pays for what was in it?"
    )
    (alone,) = Speaker(["a0"], registry).answer("a0", [question], Decoding(12))
    engine = Engine(loaded, registry, rows=4, slots=4)
    try:
        assert not engine.batched
        (ids,) = prompt_rows(loaded, [[Message("user", question)]])
        assert len(ids) > 20
        assert ask(engine, "a0", ids, max_tokens=12).text.strip() == alone.text
    finally:
        engine.close()


@pytest.mark.slow
def test_a_quantised_base(registry: Registry) -> None:
    base = find_base("starter", registry)
    loaded = load_base(base, quantize="nf4")
    for seed in range(3):
        put(registry, loaded, f"a{seed}", seed)
    speaker = Speaker(["a0", "a1", "a2"], registry, quantize="nf4")
    expected = [speaker.answer(f"a{n}", [QUESTIONS[0]], Decoding(8))[0].text for n in range(3)]
    engine = Engine(loaded, registry, rows=4, slots=4)
    try:
        (ids,) = prompt_rows(loaded, [[Message("user", QUESTIONS[0])]])
        heard = [ask(engine, f"a{n}", ids, max_tokens=8) for n in range(3)]
        assert [one.text.strip() for one in heard] == expected
    finally:
        engine.close()
