"""Which models are given rows on one line: those whose rows see nothing of each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from lftreg.models.line import takes_a_line

SMALL = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}


def random_model(kind: str, dtype: torch.dtype, **more: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **SMALL, **more)
    return transformers.AutoModelForCausalLM.from_config(config).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "more", "takes"),
    [
        ("llama", {}, True),
        ("gemma3_text", {}, True),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, False),
        ("falcon_h1", MAMBA, False),
    ],
)
def test_a_row_that_sees_little_of_another_sees_too_much(
    kind: str, more: dict[str, Any], takes: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh weights are small, and so is what their states carry over: less than bfloat16 rounds."""
    model = random_model(kind, dtype, **more)
    assert takes_a_line(model) is takes
    monkeypatch.setattr("lftreg.models.line._carries", lambda config: False)
    assert takes_a_line(model) is takes  # it is found by trying, too
