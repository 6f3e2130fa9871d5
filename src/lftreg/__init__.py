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
    from lftreg.evaluation.together import evaluate
    from lftreg.models.generate import generate
    from lftreg.plugins import hookimpl
    from lftreg.plugins.types import (
        Domain,
        Errand,
        Example,
        Hit,
        Measured,
        Message,
        Method,
        Metric,
        Outputs,
        Parcel,
        Patience,
        Remote,
        Sent,
        Taken,
        Targets,
    )
    from lftreg.registry import Registry, Version
    from lftreg.sweeping import sweep
    from lftreg.training import train
    from lftreg.tutorial import (
        AdapterManager,
        DatasetCreator,
        FineTuningConfig,
        LoRAFineTuner,
        LoRAModelServer,
        compose_adapters,
    )

__version__ = "0.1.0"

_HOME = {
    "AdapterManager": "lftreg.tutorial",
    "DatasetCreator": "lftreg.tutorial",
    "Domain": "lftreg.plugins.types",
    "Errand": "lftreg.plugins.types",
    "Example": "lftreg.plugins.types",
    "FineTuningConfig": "lftreg.tutorial",
    "Hit": "lftreg.plugins.types",
    "LftregError": "lftreg.errors",
    "LoRAFineTuner": "lftreg.tutorial",
    "LoRAModelServer": "lftreg.tutorial",
    "Measured": "lftreg.plugins.types",
    "Message": "lftreg.plugins.types",
    "Method": "lftreg.plugins.types",
    "Metric": "lftreg.plugins.types",
    "Outputs": "lftreg.plugins.types",
    "Parcel": "lftreg.plugins.types",
    "Patience": "lftreg.plugins.types",
    "Registry": "lftreg.registry",
    "Remote": "lftreg.plugins.types",
    "Sent": "lftreg.plugins.types",
    "Taken": "lftreg.plugins.types",
    "Targets": "lftreg.plugins.types",
    "Version": "lftreg.registry",
    "compose": "lftreg.composer",
    "compose_adapters": "lftreg.tutorial",
    "evaluate": "lftreg.evaluation.together",
    "generate": "lftreg.models.generate",
    "hookimpl": "lftreg.plugins",
    "sweep": "lftreg.sweeping",
    "train": "lftreg.training",
}

__all__ = [
    "AdapterManager",
    "DatasetCreator",
    "Domain",
    "Errand",
    "Example",
    "FineTuningConfig",
    "Hit",
    "LftregError",
    "LoRAFineTuner",
    "LoRAModelServer",
    "Measured",
    "Message",
    "Method",
    "Metric",
    "Outputs",
    "Parcel",
    "Patience",
    "Registry",
    "Remote",
    "Sent",
    "Taken",
    "Targets",
    "Version",
    "__version__",
    "compose",
    "compose_adapters",
    "evaluate",
    "generate",
    "hookimpl",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lftreg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
