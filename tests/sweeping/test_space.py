"""What a sweep may search, and what it says to a space that makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import LftregError, NotFound, UsageError
from lftreg.sweeping import make_space, read_space
from lftreg.sweeping.space import Choice, Range, check_fixed, default_space


def test_a_file_is_read(tmp_path: Path) -> None:
    place = tmp_path / "space.toml"
    place.write_text(
        "lr = {low = 1e-4, high = 1e-2, log = true}\nrank = [4, 8, 16]\n"
        "dropout = {low = 0, high = 0.2, step = 0.1}\nbatch_size = {low = 2, high = 8}\n"
        'targets = ["mlp", "attention"]\n'
    )
    space = read_space(place)
    assert space.dimensions == {
        "lr": Range(1e-4, 1e-2, log=True),
        "rank": Choice((4, 8, 16)),
        "dropout": Range(0.0, 0.2, step=0.1),
        "batch_size": Range(2, 8, whole=True),
        "targets": Choice(("mlp", "attention")),
    }
    assert make_space(space.as_dict()) == space
    assert space.holds("lr", 1e-3) and not space.holds("lr", 1e-1) and not space.holds("rank", 5)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "empty"),
        ({"lerning_rate": [1e-3, 1e-4]}, "unknown training setting 'lerning_rate'"),
        ({"ranks": [1, 2]}, "Did you mean 'rank'"),
        ({"seed": [1, 2]}, "seed is not searched"),
        ({"quantize": ["nf4", "int8"]}, "quantize is not searched"),
        ({"rank": 8}, "nothing to search"),
        ({"rank": []}, "fewer than two"),
        ({"rank": [8]}, "fewer than two"),
        ({"rank": [8, 8]}, "twice"),
        ({"rank": [8, 0]}, "--rank 0 makes no sense"),
        ({"rank": [8, 1.5]}, "whole number"),
        ({"rank": [True, 8]}, "whole number"),
        ({"lr": ["1e-3", "1e-4"]}, "takes a number"),
        ({"lr": {"low": 1e-2, "high": 1e-4}}, "is empty"),
        ({"lr": {"low": 1e-4}}, "lacks high"),
        ({"lr": {"low": 1e-4, "high": 1e-2, "base": 10}}, "'base'"),
        ({"lr": {"low": 1e-4, "high": 1e-2, "log": 1}}, "neither true nor false"),
        ({"lr": {"low": 1e-4, "high": 2.0}}, "--lr 2.0 makes no sense"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, "no logarithm"),
        ({"dropout": {"low": 0, "high": 0.5, "step": 0.9}}, "step"),
        ({"rank": {"low": 2, "high": 8, "step": 1.5}}, "step"),
        ({"rank": {"low": 2, "high": 8, "step": 2, "log": True}}, "log and step"),
        ({"targets": {"low": 1, "high": 2}}, "no range"),
        ({"packing": [1, 0]}, "true or false"),
    ],
)
def test_what_makes_no_sense_is_named(told: dict[str, Any], says: str) -> None:
    with pytest.raises(LftregError) as caught:
        make_space(told)
    assert says in caught.value.message
    assert caught.value.hint and caught.value.exit_code in (2, 3)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_space(tmp_path / "space.toml")
    (tmp_path / "space.toml").write_text("lr = {low = ")
    with pytest.raises(UsageError, match="cannot be read as TOML"):
        read_space(tmp_path / "space.toml")


def test_the_default_leaves_out_what_is_given() -> None:
    assert set(default_space(1e-3, {}).dimensions) == {"lr", "rank"}
    assert default_space(1e-3, {"rank": None}).dimensions["lr"] == Range(1e-4, 1e-2, log=True)
    assert set(default_space(1e-3, {"rank": 8}).dimensions) == {"lr"}
    with pytest.raises(UsageError, match="nothing is left"):
        default_space(1e-3, {"rank": 8, "lr": 1e-3})
    with pytest.raises(UsageError, match="--rank 8 too"):
        check_fixed(make_space({"rank": [4, 8]}), {"rank": 8})
