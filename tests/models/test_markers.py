from __future__ import annotations

import pytest

from lftreg.models.markers import unmarked


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("### Question: Where is it?\n### Answer:", "Where is it?"),
        ("### Instruction: Add two numbers.\n### Code:", "Add two numbers."),
        ("\n###Instruction:\nAdd two\nnumbers.\n\n### Response:\n", "Add two\nnumbers."),
        ("### Instruction: Translate.\n### Input: oui\n### Response:", "Translate.\n\noui"),
        ("Where is it?", "Where is it?"),
        ("### Question: Where is it?", "### Question: Where is it?"),
        ("### Question: Where?\n### Answer: Here.", "### Question: Where?\n### Answer: Here."),
        ("", ""),
    ],
)
def test_headings_of_tutorials_are_taken_off(prompt: str, question: str) -> None:
    assert unmarked(prompt) == question
