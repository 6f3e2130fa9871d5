"""Against vLLM's own classes, where vLLM is installed: its resolvers, its reading of adapters, its HTTP app.

No GPU is needed: what stands for the engine reads an adapter as vLLM's worker does, up to where it goes to a device.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.filterwarnings("default")  # vLLM's own are its own

from fastapi import FastAPI, Request
from starlette.testclient import TestClient
from vllm.config.lora import LoRAConfig
from vllm.entrypoints.openai.models.api_router import attach_router as models_router
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.lora.api_router import attach_router as lora_router
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry
from vllm.plugins.endpoint_plugins.interface import (
    EndpointPlugin,
    attach_endpoint_plugins,
    init_endpoint_plugins_state,
)

from lftreg.registry import Registry, Version
from lftreg.tensors import TensorInfo
from lftreg.tensors.vllm import EMBEDDINGS, LAYERS, NO_LORA, PLAIN_INITS, VLLM_RANKS, refusals
from lftreg_vllm import NAME, register
from lftreg_vllm.desk import Desk, number_of, pinned
from lftreg_vllm.resolver import RegistryResolver

Publish = Callable[..., Version]
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# As vLLM's worker expects of a LLaMA: the children of its packed layers, and the rest.
EXPECTED = set(LAYERS["llama"] | EMBEDDINGS["llama"])


class Engine:
    """What OpenAIServingModels asks of an engine; adapters are read by vLLM's own code, on the CPU."""

    def __init__(self, model: str, max_lora_rank: Any = 16) -> None:
        self.model_config = SimpleNamespace(model=model, max_model_len=256)
        self.renderer = self.input_processor = None
        self.lora_config = LoRAConfig(max_lora_rank=max_lora_rank)
        self.loaded: dict[int, LoRAModel] = {}

    async def add_lora(self, request: LoRARequest) -> bool:
        helper = PEFTHelper.from_local_dir(request.lora_path, 256)
        helper.validate_legal(self.lora_config)
        self.loaded[request.lora_int_id] = LoRAModel.from_local_checkpoint(
            request.lora_path, EXPECTED, helper, lora_model_id=request.lora_int_id, device="cpu"
        )
        return True


@pytest.fixture(autouse=True)
def resolvers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its table of resolvers as it was, and no pinned memory, which vLLM wants here where there is no device."""
    monkeypatch.setattr("vllm.lora.lora_model.PIN_MEMORY", False)
    before = dict(LoRAResolverRegistry.resolvers)
    LoRAResolverRegistry.resolvers.clear()
    yield
    LoRAResolverRegistry.resolvers.clear()
    LoRAResolverRegistry.resolvers.update(before)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points of pyproject.toml as pip would leave them."""
    points = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]
    folder = tmp_path / "site" / "lftreg_vllm-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: lftreg-vllm\nVersion: 0.1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in of.items()) for group, of in points.items()]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("VLLM_PLUGINS", "lftreg,lftreg_models")


def models(served: str, **options: Any) -> OpenAIServingModels:
    return OpenAIServingModels(Engine(served, **options), [BaseModelPath(name="base", model_path=served)])


def test_it_registers_once(installed: None) -> None:
    from vllm.plugins import load_plugins_by_group

    for _ in range(2):
        for function in load_plugins_by_group("vllm.general_plugins").values():
            function()
    first = LoRAResolverRegistry.get_resolver(NAME)
    assert isinstance(first, LoRAResolver)
    register()
    assert LoRAResolverRegistry.get_resolver(NAME) is first
    assert set(LoRAResolverRegistry.get_supported_resolvers()) == {NAME}


def test_a_request_for_an_adapter(registry: Registry, publish: Publish, served: str) -> None:
    made = publish()
    found = asyncio.run(RegistryResolver().resolve_lora(served, "support"))
    assert isinstance(found, LoRARequest)
    assert (found.lora_name, found.lora_int_id) == (pinned(made), number_of(made.digest))
    assert found.lora_path == str(registry.home.exports / "vllm" / made.digest)


@pytest.mark.parametrize("name", ["../support", "/etc/passwd", "support\x00", "%2e%2e", "süpport", "nobody"])
def test_what_is_not_served_is_said_in_the_log(
    name: str,
    publish: Publish,
    served: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    assert asyncio.run(RegistryResolver().resolve_lora(served, name)) is None
    (said,) = [record.getMessage() for record in caplog.records if record.name == "vllm.lftreg"]
    assert "is not served" in said and "\x00" not in said


def test_vllm_loads_what_the_resolver_gives(publish: Publish, served: str) -> None:
    register()
    made = publish(rank_pattern={"q_proj": 4})
    serving = models(served)
    for name in ("support", "support@1", pinned(made)):
        assert asyncio.run(serving.resolve_lora(name)).lora_name == pinned(made)
    model = next(iter(serving.engine_client.loaded.values()))
    (layer,) = model.loras.values()
    assert (layer.module_name, layer.lora_a.shape, layer.scaling) == (
        "model.layers.0.self_attn.q_proj", (4, 384), 2.0
    )  # fmt: skip
    missing = asyncio.run(serving.resolve_lora("nobody"))
    assert isinstance(missing, ErrorResponse) and missing.error.code == 404


def test_a_rank_above_that_of_the_server_is_an_error_of_vllm(publish: Publish, served: str) -> None:
    register()
    publish(rank=20)
    refused = asyncio.run(models(served).resolve_lora("support"))
    assert isinstance(refused, ErrorResponse) and refused.error.code == 400
    assert isinstance(asyncio.run(models(served, max_lora_rank=32).resolve_lora("support")), LoRARequest)


def test_the_http_app(
    installed: None, registry: Registry, publish: Publish, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's routes for models and adapters, and the plugin as vLLM attaches it."""
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    register()
    one, two, wide = publish(), publish(seed=1), publish("wide", rank=20, seed=2)
    registry.alias("support@1", "prod")
    app = FastAPI()
    models_router(app)
    lora_router(app)

    @app.post("/v1/completions")
    async def answer(request: Request) -> dict[str, Any]:  # as vLLM's handlers find the model
        name = (await request.json())["model"]
        if request.app.state.openai_serving_models.is_base_model(name):
            return {"model": name}
        found = await request.app.state.openai_serving_models.resolve_lora(name)
        return {"model": found.lora_name} if isinstance(found, LoRARequest) else {"error": found.error.code}

    attach_endpoint_plugins(app, ("generate",))
    app.state.openai_serving_models = serving = models(served)
    arguments = SimpleNamespace(enable_lora=True, max_lora_rank=16)
    asyncio.run(init_endpoint_plugins_state(serving.engine_client, app.state, arguments))
    assert [isinstance(plugin, EndpointPlugin) for plugin in app.state.endpoint_plugins] == [True]

    with TestClient(app) as client:

        def listed() -> dict[str, bool | None]:
            cards = client.get("/v1/models").json()["data"]
            assert len({card["id"] for card in cards}) == len(cards)
            return {card["id"]: card.get("lftreg", {}).get("loaded") for card in cards}

        def ask(name: str) -> Any:
            return client.post("/v1/completions", json={"model": name}).json()

        assert listed() == {"base": None, pinned(one): False, pinned(two): False}
        assert ask("support@prod") == {"model": pinned(one)}
        registry.alias("support@2", "prod")
        assert ask("support@prod") == {"model": pinned(two)}
        assert ask("support") == ask(pinned(two)) == {"model": pinned(two)}
        assert listed() == {"base": None, pinned(one): True, pinned(two): True}
        assert len(serving.engine_client.loaded) == 2
        assert ask("base") == {"model": "base"}
        assert ask("nobody") == {"error": 404} and ask(pinned(wide)) == {"error": 400}
        body = {"lora_name": "x", "lora_path": "/etc"}
        for path in ("/v1/load_lora_adapter", "/v1/load_lora_adapter/", "/adapters", "/adapters/"):
            assert client.post(path, json=body).status_code == 403


QUERY = {
    f"base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight": TensorInfo("F32", (4, 4), 0, 0)
    for part in "AB"
}
CONFIGS: list[dict[str, Any]] = [
    {}, {"use_dora": True}, {"lora_bias": True}, {"bias": "all"}, {"use_qalora": True},
    {"use_bdlora": {"a": 1}}, {"alora_invocation_tokens": [1]}, {"layer_replication": [[0, 1]]},
    {"modules_to_save": ["lm_head"]}, {"modules_to_save": ["score"]}, {"use_rslora": True},
    {"r": 512}, {"r": 513}, {"rank_pattern": {"q_proj": 600}}, {"rank_pattern": {"q_proj": 8}},
    *({"init_lora_weights": name} for name in (*PLAIN_INITS, "pissa", "olora", "corda", "loftq", True, False)),
]  # fmt: skip


@pytest.mark.parametrize("changed", CONFIGS, ids=str)
def test_configurations_are_judged_as_by_vllm(changed: dict[str, Any]) -> None:
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]} | changed
    try:
        PEFTHelper.from_dict(config).validate_legal(LoRAConfig(max_lora_rank=VLLM_RANKS[-1]))
        taken = True
    except ValueError:
        taken = False
    assert taken is not bool(refusals(config, QUERY, "llama"))


@pytest.mark.parametrize("rank", [1, 2, 8, 16, 24, 320, 512, 1024])
def test_ranks_are_those_of_vllm(rank: int) -> None:
    if rank in VLLM_RANKS:
        LoRAConfig(max_lora_rank=rank)  # type: ignore[arg-type]
    else:
        with pytest.raises(ValueError, match="max_lora_rank"):
            LoRAConfig(max_lora_rank=rank)  # type: ignore[arg-type]


ARCHITECTURES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM", "phi3": "Phi3ForCausalLM", "granite": "GraniteForCausalLM",
    "cohere": "CohereForCausalLM", "mixtral": "MixtralForCausalLM", "gpt2": "GPT2LMHeadModel",
    "gptj": "GPTJForCausalLM", "bloom": "BloomForCausalLM", "falcon": "FalconForCausalLM", "mamba": "MambaForCausalLM",
    "mamba2": "Mamba2ForCausalLM", "zamba2": "Zamba2ForCausalLM", "dbrx": "DbrxForCausalLM",
    "stablelm": "StableLmForCausalLM", "orion": "OrionForCausalLM", "falcon_mamba": "FalconMambaForCausalLM",
    "gemma3n_text": "Gemma3nForCausalLM", "cohere2_moe": "Cohere2MoeForCausalLM",
}  # fmt: skip


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_families_are_those_of_vllm(model_type: str) -> None:
    from vllm.model_executor.models import registry as known
    from vllm.model_executor.models.interfaces import supports_lora

    module, name = known._TEXT_GENERATION_MODELS[ARCHITECTURES[model_type]]
    found = getattr(importlib.import_module(f"vllm.model_executor.models.{module}"), name)
    assert supports_lora(found) is (model_type not in NO_LORA)
    if model_type in NO_LORA:
        return
    assert set(found.embedding_modules) == EMBEDDINGS.get(model_type, frozenset())
    if model_type in LAYERS:
        children = {child for packed in found.packed_modules_mapping.values() for child in packed}
        assert children <= LAYERS[model_type]


def test_a_desk_of_its_own(publish: Publish, served: str) -> None:
    publish()
    desk = Desk()
    assert asyncio.run(RegistryResolver(desk).resolve_lora(served, "support")) is not None
