from __future__ import annotations

import math
from pathlib import Path

import torch

from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.training.noise import noisy_embeddings

IDS = torch.tensor([[1, 5, 9, 200, 3]])


def test_noise_has_neftunes_reach_in_training_and_is_none_elsewhere(tiny_llama: Path) -> None:
    model = load_base(find_base(str(tiny_llama))).model
    embed = model.get_input_embeddings()
    still = embed(IDS)
    with noisy_embeddings(model, 5.0):
        model.train()
        torch.manual_seed(0)
        noise = embed(IDS) - still
        torch.manual_seed(0)
        assert torch.equal(embed(IDS) - still, noise)
        model.eval()
        assert torch.equal(embed(IDS), still)
    model.train()
    assert torch.equal(embed(IDS), still)
    reach = 5.0 / math.sqrt(IDS.shape[1] * still.shape[2])
    assert 0.9 * reach < noise.abs().max() <= reach * (1 + 1e-6)
