"""Adapters of a lftreg registry in vLLM: loaded by name when a request asks for them, and listed before."""

from __future__ import annotations

NAME = "lftreg"


def register() -> None:
    """Tell vLLM of the resolver. vLLM calls this in each of its processes, and may do so twice in one.

    Nothing is opened before the first request for an adapter.
    """
    from vllm.lora.resolver import LoRAResolverRegistry

    from lftreg_vllm.resolver import RegistryResolver

    if NAME not in LoRAResolverRegistry.get_supported_resolvers():
        LoRAResolverRegistry.register_resolver(NAME, RegistryResolver())
