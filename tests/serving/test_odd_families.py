"""Families whose rows only seem to be able to share passes, or that have no cache of the usual kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lftreg import Registry
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.serving.engine import Engine
from lftreg.serving.passes import same_weights
from lftreg.serving.sampling import Sampling
from lftreg.serving.selftest import reference_of
from lftreg.serving.voices import find_voice
from tests.conftest import FEW, SURE, TINY, WIDTH, save_tiny

from .adapters import ask, put

LATENT = {
    "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
    "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
}  # fmt: skip
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0, 6.0, 9.0, 12.0]}
ODD: dict[str, tuple[bool, dict[str, Any]]] = {  # by model type: whether rows share passes, and a configuration
    # An adapter's layer is given all of the latent cache, not one input a row.
    "deepseek_v3": (False, {**WIDTH, **SURE, **LATENT, "max_position_embeddings": 256}),
    # Every second layer looks back a few tokens, and counts them from the longest row.
    "gpt_neo": (
        False,
        {
            "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
            "window_size": 12, "max_position_embeddings": 256, **SURE,
        },
    ),
    # One long row turns the positions of all.
    "phi3": (False, {**FEW, **SURE, "original_max_position_embeddings": 32, "rope_scaling": LONGROPE}),
    "mamba": (False, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, **SURE}),
    "minimax": (
        False,
        {**FEW, **SURE, "num_local_experts": 2, "layer_types": ["linear_attention", "full_attention"]},
    ),
    "openai-gpt": (False, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, **SURE}),
    "opt": (
        True,
        {
            "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "word_embed_proj_dim": 32, "init_std": 0.3, "max_position_embeddings": 256,
        },
    ),
    "mixtral": (True, {**FEW, **SURE, "num_local_experts": 4}),
}  # fmt: skip


@pytest.mark.parametrize("family", ODD)
def test_rows_of_many_lengths_and_adapters_at_once(
    family: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a model that answers one request at a time and keeps no cache."""
    shares, small = ODD[family]
    monkeypatch.setitem(TINY, family, ("AutoModelForCausalLM", small))
    (tmp_path / "base").mkdir()
    loaded = load_base(find_base(str(save_tiny(family, tmp_path / "base")), registry))
    for seed in range(3):
        put(registry, loaded, f"a{seed}", seed, rank=(4, 8, 4)[seed], scale=2.0)
    reference = reference_of(loaded, registry)
    engine = Engine(loaded, registry, rows=4, slots=4)
    try:
        assert engine.batched == shares
        asked = [
            (name, [(17 * n + 31 * seed) % 300 for n in range(length)])
            for seed, (name, length) in enumerate(
                (("a0", 60), ("a1", 4), ("a2", 28), ("a0:0.5+a1:0.5", 4), ("a1", 60), ("a0", 5))
            )
        ]
        heard = [ask(engine, name, ids, max_tokens=8, ignore_eos=True) for name, ids in asked]
        for (name, ids), one in zip(asked, heard, strict=True):
            voice = find_voice(name, loaded.base, registry)
            assert one.ended.tokens == 8
            assert one.ids == reference.answer(voice, ids, Sampling(8, ignore_eos=True), engine.stops), name
    finally:
        engine.close()


def test_what_a_pass_writes_down_is_not_seen_by_a_second_tree(tmp_path: Path, registry: Registry) -> None:
    """Longrope writes the frequencies of its longest row into a buffer."""
    import torch

    _, small = ODD["phi3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TINY, "phi3", ("AutoModelForCausalLM", small))
        loaded = load_base(find_base(str(save_tiny("phi3", tmp_path)), registry))
    second = same_weights(loaded.model)
    before = second.model.rotary_emb.inv_freq.clone()
    with torch.inference_mode():
        loaded.model(torch.arange(60)[None])
    assert not torch.equal(loaded.model.model.rotary_emb.inv_freq, before)
    assert torch.equal(second.model.rotary_emb.inv_freq, before)
    assert second.model.embed_tokens.weight is loaded.model.model.embed_tokens.weight
