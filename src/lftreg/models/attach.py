"""Several adapters on one base, of which one or none answers at a time.

Every adapter keeps its own factors beside the base's weights, so switching copies nothing and
the base is never written to: what answers without an adapter is the base itself, to the bit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData
from lftreg.models.load import Loaded
from lftreg.tensors import is_head


class AdapterModel:
    """A loaded base and the adapters attached to it, under names of the caller's choice."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._peft: Any = None
        self._names: set[str] = set()
        self._lock = threading.RLock()  # the active adapter is state of the whole model

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def attach(self, name: str, config: Mapping[str, Any], weights: Path) -> None:
        """Add an adapter from its configuration and its safetensors file.

        Raises InvalidData where a tensor is missing, left over, of another shape, or would
        overwrite the base. The model is then as it was.
        """
        with self._lock:
            if name in self._names:
                return
            tensors = _read_factors(weights, config)
            try:
                self._inject(name, config)
            except (ValueError, TypeError, KeyError) as error:
                raise InvalidData(
                    f"adapter {name!r} does not fit its base: {str(error).splitlines()[0]}",
                    "was it made for another base?",
                ) from error
            try:
                self._fill(name, tensors)
            except (InvalidData, RuntimeError, KeyError) as error:
                self._drop(name)
                if isinstance(error, InvalidData):
                    raise
                raise InvalidData(
                    f"adapter {name!r} does not fit its base: {str(error).splitlines()[0]}",
                    "`lftreg verify` tells whether its file is damaged",
                ) from error
            self._names.add(name)

    def detach(self, name: str) -> None:
        """Take an adapter out of memory."""
        with self._lock:
            if name in self._names:
                self._names.discard(name)
                self._drop(name)

    @contextmanager
    def using(self, name: str | None) -> Iterator[Any]:
        """The model as `name` answers, or as the bare base does where `name` is None.

        Other threads wait: two adapters never share a forward pass here.
        """
        with self._lock:
            if self._peft is None:
                yield self.loaded.model
            elif name is None:
                with self._peft.disable_adapter():
                    yield self._peft
            else:
                self._peft.set_adapter(name)
                yield self._peft

    def _inject(self, name: str, config: Mapping[str, Any]) -> None:
        from peft import LoraConfig, get_peft_model

        settings = {key: value for key, value in config.items() if key not in ("peft_type", "auto_mapping")}
        # How the factors began is over, and some ways to begin would change the base again.
        task = self.loaded.task.peft
        fixed = {"task_type": task, "inference_mode": True, "init_lora_weights": True}
        lora = LoraConfig(**{**settings, **fixed})
        if self._peft is None:
            self._peft = get_peft_model(self.loaded.model, lora, adapter_name=name, low_cpu_mem_usage=True)
            self._peft.eval()
        else:
            self._peft.add_adapter(name, lora, low_cpu_mem_usage=True)

    def _fill(self, name: str, tensors: dict[str, Any]) -> None:
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        wanted = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        foreign = sorted(set(tensors) - set(wanted))
        if foreign:  # PEFT would put it wherever the name leads, into the base or into another adapter
            raise InvalidData(
                f"adapter {name!r} has, but its targets do not, the tensor {foreign[0]}",
                "it was made for another base",
            )
        result = set_peft_model_state_dict(self._peft, tensors, adapter_name=name, low_cpu_mem_usage=True)
        missing = [key for key in result.missing_keys if f".{name}." in key]
        if missing or result.unexpected_keys:
            key = (missing or result.unexpected_keys)[0]
            what = "lacks" if missing else "has, but its targets do not,"
            raise InvalidData(f"adapter {name!r} {what} the tensor {key}", "it was made for another base")

    def _drop(self, name: str) -> None:
        if len(self._peft.peft_config) > 1:
            self._peft.delete_adapter(name)
        else:
            heads = self._own_heads()
            self._peft = self._peft.unload() and None
            for path, module in heads.items():
                self.loaded.model.set_submodule(path, module)

    def _own_heads(self) -> dict[str, Any]:
        """The base's own modules, by path, that adapters have others for: PEFT leaves the last adapter's there."""
        return {
            path: module.original_module
            for path, module in self.loaded.model.named_modules()
            if hasattr(module, "original_module") and hasattr(module, "modules_to_save")
        }


def _read_factors(weights: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a file: factors, and those of the head that a classifier declares."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(weights)
    for key in tensors:
        if ".lora_" not in key and not is_head(key, config):
            raise InvalidData(
                f"the adapter's file holds {key}, which is the base's own weight",
                "an adapter may only bring its own factors; do not use this file",
                code="base-key",
            )
    return tensors
