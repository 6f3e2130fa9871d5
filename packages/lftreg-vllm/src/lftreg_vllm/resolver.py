"""From the name in a request to an adapter of the registry."""

from __future__ import annotations

from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver

from lftreg.errors import LftregError
from lftreg_vllm.desk import Desk, log


class RegistryResolver(LoRAResolver):  # type: ignore[misc]  # vLLM is not here while types are checked
    """Gives vLLM what a REF names, as an immutable version in a folder named by its content."""

    def __init__(self, desk: Desk | None = None) -> None:
        self.desk = desk or Desk()

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        """None, and a line in the log that says why, for whatever cannot be served.

        vLLM keeps the request under `lora_name` and gives it a number of its own; its prefix cache goes by the name
        and the path in it, which stay with the content.
        """
        try:
            found = await self.desk.resolve(base_model_name, lora_name)
        except LftregError as error:
            hint = f" ({error.hint})" if error.hint else ""
            log.warning("lftreg: %.80r is not served: %s%s", lora_name, error.message, hint)
            return None
        log.info("lftreg: %s is %s, from %s", lora_name, found.name, found.folder)
        return LoRARequest(lora_name=found.name, lora_int_id=found.number, lora_path=str(found.folder))
