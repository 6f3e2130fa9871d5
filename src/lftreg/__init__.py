"""Keep, make, mix and share LoRA adapters.

    from lftreg import Registry, compose, generate, train

    train("customer_support")
    desk = compose(["customer_support:0.7", "financial_advisor:0.3"], name="advisor_desk")
    print(desk.ref, desk.digest)

The names below load on first use, so that `import lftreg` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lftreg.composer import compose
    from lftreg.errors import LftregError
    from lftreg.models.generate import generate
    from lftreg.plugins import hookimpl
    from lftreg.plugins.types import Domain, Example, Message, Method, Targets
    from lftreg.registry import Registry, Version
    from lftreg.training import train
    from lftreg.tutorial import (
        AdapterManager,
        DatasetCreator,
        FineTuningConfig,
        LoRAFineTuner,
        compose_adapters,
    )

__version__ = "0.1.0"

_HOME = {
    "AdapterManager": "lftreg.tutorial",
    "DatasetCreator": "lftreg.tutorial",
    "Domain": "lftreg.plugins.types",
    "Example": "lftreg.plugins.types",
    "FineTuningConfig": "lftreg.tutorial",
    "LftregError": "lftreg.errors",
    "LoRAFineTuner": "lftreg.tutorial",
    "Message": "lftreg.plugins.types",
    "Method": "lftreg.plugins.types",
    "Registry": "lftreg.registry",
    "Targets": "lftreg.plugins.types",
    "Version": "lftreg.registry",
    "compose": "lftreg.composer",
    "compose_adapters": "lftreg.tutorial",
    "generate": "lftreg.models.generate",
    "hookimpl": "lftreg.plugins",
    "train": "lftreg.training",
}

__all__ = [
    "AdapterManager",
    "DatasetCreator",
    "Domain",
    "Example",
    "FineTuningConfig",
    "LftregError",
    "LoRAFineTuner",
    "Message",
    "Method",
    "Registry",
    "Targets",
    "Version",
    "__version__",
    "compose",
    "compose_adapters",
    "generate",
    "hookimpl",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lftreg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
