"""Scores of adapters by REF from lm-evaluation-harness, with its own tasks and its own metrics.

    lm_eval --model lftreg --model_args ref=support@prod --tasks hellaswag

An lm-eval that discovers models by entry points (the group `lm_eval.models`) finds this one by itself. For those
that do not, up to 0.4.13, `python -m lftreg.harness` is the same command with the model known to it, and
`register()` does as much for `lm_eval.simple_evaluate`.

lm-eval is an extra: nothing here imports it before it is asked to.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

from lftreg.errors import INTERRUPTED, LftregError, Unavailable

__all__ = ["NAME", "main", "register"]

NAME = "lftreg"  # what --model takes; pyproject.toml names the entry point so


def register() -> None:
    """Make `lftreg` known to lm-eval in this process, for versions that discover no entry points.

    Raises Unavailable without lm-eval.
    """
    _need_lm_eval()
    importlib.import_module("lftreg.harness.model")


def main() -> int:
    """Run lm-eval's own command on `sys.argv`, with `lftreg` among its models, and return the exit code.

    What lftreg refuses is told in one sentence and a hint; everything else is lm-eval's to say.
    """
    try:
        register()
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    except LftregError as error:
        hint = f" hint: {error.hint}\n" if error.hint else ""
        sys.stderr.write(f"error: {error.message}\n{hint}")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return INTERRUPTED
    return 0


def _need_lm_eval() -> None:
    if importlib.util.find_spec("lm_eval") is None:
        raise Unavailable(
            "scoring with lm-evaluation-harness needs lm-eval, which is not installed",
            "pip install 'lftreg[harness]'",
            code="no-lm-eval",
        )
