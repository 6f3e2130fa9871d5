"""What is drawn at the edges of what may be asked."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lftreg.serving.sampling import Sampling, choose, dice_of  # noqa: E402


@pytest.mark.parametrize("temperature", [1e-5, 1e-9, 1e-39, 1e-320])
def test_a_temperature_of_almost_nothing_takes_the_likeliest(temperature: float) -> None:
    logits = torch.linspace(-30, 30, 11).roll(4)[None]
    sampling = Sampling(1, temperature)
    (token,) = choose(logits, [sampling], [dice_of(sampling, torch.device("cpu"))])
    assert token.id == int(logits.argmax())
