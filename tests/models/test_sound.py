from __future__ import annotations

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from lftreg.errors import InvalidData
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.models.sound import check_weights


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_no_number_is_named(tiny_llama: Path, value: float) -> None:
    model = load_base(find_base(str(tiny_llama))).model
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    check_weights(adapted, "tiny")
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = value
    with pytest.raises(InvalidData, match=r"'tiny' .* in model\.layers\.1\.mlp\.up_proj\.weight") as caught:
        check_weights(adapted, "tiny")
    assert caught.value.code == "broken-base"


def test_a_factor_of_the_adapter_is_not_the_base_s_fault(tiny_llama: Path) -> None:
    model = load_base(find_base(str(tiny_llama))).model
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    next(p for p in adapted.parameters() if p.requires_grad).data.fill_(float("nan"))
    check_weights(adapted, "tiny")
