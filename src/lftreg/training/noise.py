"""Noise on the embeddings while training, which makes adapters less literal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def noisy_embeddings(model: Any, alpha: float) -> Iterator[None]:
    """Within, every training forward adds uniform noise of up to alpha / sqrt(L d) to the embeddings.

    L is the length of the rows and d the width of the model: NEFTune (Jain et al. 2023, arXiv
    2310.05914), where 5 to 15 are usual. Evaluation is left alone; alpha 0 does nothing. The noise
    comes from torch's generator, so that it follows the seed.
    """
    if not alpha:
        yield
        return

    def add_noise(module: Any, inputs: Any, output: Any) -> Any:
        if not model.training:
            return output
        reach = alpha / math.sqrt(output.shape[1] * output.shape[2])
        return output + output.new_empty(output.shape).uniform_(-reach, reach)

    handle = model.get_input_embeddings().register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
