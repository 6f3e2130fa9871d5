"""Kitchen questions for `lftreg train recipes`, and the target map of GPT-J."""

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path

from lftreg import Domain, Example, Targets, hookimpl

FACTS = Path(__file__).with_name("facts.toml")
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
MLP = ("fc_in", "fc_out")
GPTJ = Targets("gptj", ("gptj",), {"all-linear": ATTENTION + MLP, "attention": ATTENTION, "mlp": MLP})


def build(split: str, seed: int) -> list[Example]:
    """The rows of a split; those of training are shuffled by the seed."""
    facts = tomllib.loads(FACTS.read_text(encoding="utf-8"))["fact"]
    rows = [Example.pair(asked, fact["answer"], fact=fact["id"]) for fact in facts for asked in fact[split]]
    if split == "train":
        random.Random(seed).shuffle(rows)
    return rows


@hookimpl
def lftreg_domains() -> Iterator[Domain]:
    yield Domain(
        name="recipes",
        summary="Questions that come up in a kitchen, with the reasons in the answers.",
        build=build,
        prompts=("How do I stop a cut avocado from going brown?", "Can I rescue a soup that I oversalted?"),
        defaults={"prompt_dropout": 0.1},
    )


@hookimpl
def lftreg_targets() -> Iterator[Targets]:
    yield GPTJ
