"""What the package promises. It has to be installed: `pip install '.[test]'`."""

import itertools
from collections import Counter

import lftreg_recipes
from lftreg.testing import check_plugin, check_targets

SPLITS = ("train", "validation", "test")


def test_it_keeps_the_rules_of_plugins():
    check_plugin("recipes")


def test_the_target_map_fits_the_model():
    config = {"model_type": "gptj", "n_layer": 2, "n_embd": 32, "n_head": 4, "rotary_dim": 4}
    check_targets(lftreg_recipes.GPTJ, config)


def test_every_fact_is_asked_for_in_every_split():
    asked = {split: Counter(row.fact for row in lftreg_recipes.build(split, 0)) for split in SPLITS}
    assert set(asked["train"]) == set(asked["validation"]) == set(asked["test"])
    assert len(asked["train"]) >= 24
    assert min(asked["train"].values()) >= 5


def test_every_answer_belongs_to_one_fact():
    rows = itertools.chain.from_iterable(lftreg_recipes.build(split, 0) for split in SPLITS)
    facts = Counter(answer for _, answer in {(row.fact, row.response) for row in rows})
    assert set(facts.values()) == {1}
