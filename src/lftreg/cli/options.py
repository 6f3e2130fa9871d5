"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """One decorator that gives all of some options, in their order."""

    def give(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return give


DECODING = _together(
    click.option(
        "--max-tokens", type=int, default=128, show_default=True, metavar="N", help="The longest answer."
    ),
    click.option(
        "--temperature",
        type=float,
        default=0.0,
        show_default=True,
        metavar="X",
        help="0 takes the likeliest word.",
    ),
    click.option(
        "--top-p",
        type=float,
        default=1.0,
        show_default=True,
        metavar="X",
        help="Sample from this share of the likely.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the sampling."),
)

QUANTIZE = click.option(
    "--quantize",
    type=click.Choice(["nf4", "int8"]),
    help="Keep the base in 4 or 8 bits: a quarter or half of its memory.",
)
TRUST = click.option("--trust-remote-code", is_flag=True, help="Let the base run Python of its own.")
MAP = click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="ROLE=COLUMN",
    help="Which column is the prompt, response, context, system, messages, text, label or split; repeatable.",
)
