"""The packages of the extra `eval`: imported here, by name, when something is scored."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from lftreg.errors import Unavailable


def extra(module: str) -> Any:
    """A module of the extra `eval`, such as `scipy.special`. Raises Unavailable where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise Unavailable(
            f"scoring answers needs the {package} package", "pip install 'lftreg[eval]'", code="no-eval"
        ) from error


# What a metric imports when it measures; intervals need scipy whatever is measured.
NEEDED = {
    "bleu": "sacrebleu",
    "chrf": "sacrebleu",
    "rouge_1": "rouge_score.rouge_scorer",
    "rouge_l": "rouge_score.rouge_scorer",
}


def check_extras(metrics: Iterable[str]) -> None:
    """Before anything is asked, which may take long. Raises Unavailable for the first package that is missing."""
    for module in dict.fromkeys(["scipy.special", *(NEEDED[name] for name in metrics if name in NEEDED)]):
        extra(module)
