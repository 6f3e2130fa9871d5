"""What the process that `tests.forks` forks from has: libraries, what they build at first use, and lftreg's modules.

Imported by that process alone, once. Nothing here reads a home, a setting or a file of a model: what a command does
is all its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import pkgutil

LIBRARIES = (
    "torch", "peft", "bitsandbytes", "transformers.models.llama.modeling_llama",
    "scipy.stats", "rouge_score.rouge_scorer", "sacrebleu", "bm25s",
    "sqlalchemy.dialects.sqlite", "sqlite3", "alembic.command",
    "click", "rich.console", "matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin",
)  # fmt: skip
# `__main__` is a command, migrations are Alembic's to run, and the model of lm-eval brings all of that library.
NOT_OURS_TO_IMPORT = ("lftreg.__main__", "lftreg.migrations", "lftreg.harness")


def preload() -> None:
    gc.disable()  # it would look through all of that again and again, and find nothing
    for name in LIBRARIES:
        importlib.import_module(name)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("llama")  # the first base that is loaded compiles a thousand patterns
    import lftreg

    for found in pkgutil.walk_packages(lftreg.__path__, "lftreg."):
        if not found.name.startswith(NOT_OURS_TO_IMPORT):
            with contextlib.suppress(ImportError):  # kernels want triton
                importlib.import_module(found.name)
    gc.freeze()  # nor does any process that is forked
    gc.enable()


preload()
