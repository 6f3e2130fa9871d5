"""Vectors of texts: the same in any company, and the bare base's whoever is attached."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lftreg.evaluation.embedding import mean_pooled
from lftreg.models.attach import AdapterModel
from lftreg.models.base import find_base
from lftreg.models.load import Loaded, load_base
from tests.conftest import WIDTH, Tiny

TEXTS = (
    "Returns take ten days.",
    "Hello",
    "The parcel that you sent back on Monday reached us today, and the money is on its way to your account.",
    "def add(a, b):\n    return a + b",
    "Wo ist mein Paket?",
)


def loaded(base: str | Path) -> Loaded:
    return load_base(find_base(str(base)), "float32")


def attached(base: Loaded, folder: Path) -> AdapterModel:
    """A random adapter on all of it."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file

    torch.manual_seed(1)
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, r=4, target_modules="all-linear")
    tensors = get_peft_model_state_dict(get_peft_model(loaded(base.base.folder).model, config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "a.safetensors")
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    model = AdapterModel(base)
    model.attach("a", json.loads(json.dumps(plain, default=str)), folder / "a.safetensors")
    return model


@pytest.mark.parametrize("kind", ["starter", "llama", "gpt2", "gpt_neox", "bert", "roberta", "t5"])
def test_company_in_a_batch_does_not_change_a_vector(kind: str, tiny: Tiny) -> None:
    base = loaded(kind if kind == "starter" else tiny(kind))
    together = mean_pooled(base, base.model, TEXTS)
    alone = np.vstack([mean_pooled(base, base.model, [text]) for text in TEXTS])
    by_two = mean_pooled(base, base.model, TEXTS[::-1], batch=2)[::-1]
    assert together.dtype == np.float32
    assert together.shape == (len(TEXTS), base.model.get_input_embeddings().embedding_dim)
    assert np.abs(together).max() > 0.01
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, by_two, atol=1e-5)


def test_an_attached_adapter_does_not_move_it(tiny_llama: Path, tmp_path: Path) -> None:
    base = loaded(tiny_llama)
    before = mean_pooled(base, base.model, TEXTS)
    model = attached(base, tmp_path)
    with model.using("a") as active:
        moved = mean_pooled(base, active, TEXTS)
    with model.using(None) as bare:
        after = mean_pooled(base, bare, TEXTS)
    assert np.abs(moved - before).max() > 0.01  # the adapter does something
    np.testing.assert_array_equal(after, before)


def test_it_is_the_mean_of_the_last_hidden_states(tiny_llama: Path) -> None:
    import torch

    base = loaded(tiny_llama)
    ids = torch.tensor([base.tokenizer(TEXTS[0])["input_ids"]])
    with torch.inference_mode():
        last = base.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    np.testing.assert_allclose(mean_pooled(base, base.model, TEXTS[:1])[0], last.mean(0).numpy(), atol=1e-5)


def test_equal_texts_are_read_once(tiny_llama: Path) -> None:
    base, seen = loaded(tiny_llama), []
    base.model.base_model.register_forward_hook(lambda *told: seen.append(told[2].last_hidden_state.shape[0]))
    many = mean_pooled(base, base.model, [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[0]])
    assert sum(seen) == 2
    np.testing.assert_array_equal(many[0], many[3])
    assert not np.array_equal(many[0], many[1])


@pytest.mark.parametrize("kind", ["llama", "roberta"])
def test_a_text_is_cut_at_the_limit_of_its_base(kind: str, tiny: Tiny) -> None:
    base = loaded(tiny(kind))
    long = "word " * (2 * base.base.config["max_position_embeddings"])
    same = mean_pooled(base, base.model, [long, long + "and more of it"])
    assert np.isfinite(same).all()
    np.testing.assert_array_equal(same[0], same[1])


def test_what_has_no_token_is_the_zero_vector(tiny: Tiny) -> None:
    for kind in ("llama", "bert"):  # an encoder's tokenizer sets markers even around nothing
        base = loaded(tiny(kind))
        found = mean_pooled(base, base.model, ["", "Hello"])
        assert not found[0].any()
        assert found[1].any()
    assert mean_pooled(base, base.model, []).shape == (0, WIDTH["hidden_size"])


def test_markers_around_a_text_are_not_averaged(tiny: Tiny) -> None:
    import torch

    base = loaded(tiny("bert"))
    ids = base.tokenizer(TEXTS[0])["input_ids"]
    with torch.inference_mode():
        states = base.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    inside = [at for at, id_ in enumerate(ids) if id_ not in base.tokenizer.all_special_ids]
    assert 0 < len(inside) < len(ids)
    np.testing.assert_allclose(
        mean_pooled(base, base.model, TEXTS[:1])[0], states[inside].mean(0).numpy(), atol=1e-5
    )
