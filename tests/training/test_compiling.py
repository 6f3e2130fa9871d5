"""When layers are compiled, and what a run that shares its base is foretold to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lftreg.objectives.rows import IGNORED, Row
from lftreg.registry import Registry
from lftreg.training import Plan
from lftreg.training.compiling import TAKES, saved, would_compile
from lftreg.training.forecast import even, foresee

from .test_together import plan_of


@pytest.fixture
def plan(registry: Registry, tiny_llama: Path) -> Any:
    def make(**options: Any) -> Plan:
        return plan_of("one", registry, tiny_llama, **options)

    return make


def test_a_long_run_is_compiled_and_a_short_one_is_not(plan: Any) -> None:
    assert not would_compile([plan(max_steps=20)])
    assert would_compile([plan(max_steps=20_000)])


def test_what_is_quantised_is_not_compiled(plan: Any) -> None:
    assert not would_compile([plan(max_steps=20_000, quantize="nf4")])


def test_runs_side_by_side_wait_for_the_launches_of_a_pass_once(plan: Any) -> None:
    one, other = plan(max_steps=2_000), plan(max_steps=500)
    assert saved([one, other]) == saved([one]) < TAKES


def test_rows_on_one_line_are_foretold_without_what_fills_them_up() -> None:
    rows = [Row(tuple(range(n)), (IGNORED, *range(1, n))) for n in (3, 40, 9)]
    made = even(rows)
    assert sum(len(row.ids) for row in made) == 52
    assert {len(row.ids) for row in made[:-1]} == {18} and len(made) == 3
    assert all(row.labels[0] == IGNORED for row in made)
    assert even([]) == []


def test_a_shared_base_takes_less_than_pefts_model(plan: Any) -> None:
    """On a GPU by what was measured there."""
    eager, compiled, plain = (
        foresee(plan(max_steps=steps, plain=by_peft), "H100").memory
        for steps, by_peft in ((20, False), (20_000, False), (20, True))
    )
    assert eager is not None and compiled is not None and plain is not None
    assert compiled.activations < eager.activations < plain.activations
    assert eager.static == plain.static
    ours, theirs = (foresee(plan(max_steps=20, plain=by_peft), "cpu").memory for by_peft in (False, True))
    assert ours is not None and theirs is not None
    assert ours.activations < theirs.activations  # rows are not filled up, and logits are never all there
