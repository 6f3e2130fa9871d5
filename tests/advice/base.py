"""A small base that has learned something: faults show on it as they do on real ones, in seconds.

A random model starts above the loss of a uniform guess, so that even a ruined run looks like learning.
"""

from __future__ import annotations

from pathlib import Path

from tests.conftest import save_tiny

WIDE = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.05}


def save_learned(folder: Path, steps: int = 150) -> Path:
    """A llama of two layers, all of it trained on the built-in domains for so many steps of 12 rows."""
    import torch
    import transformers

    from lftreg.models.base import find_base
    from lftreg.models.load import load_chat
    from lftreg.objectives.causal import Causal
    from lftreg.objectives.rows import batches
    from lftreg.plugins.host import Host

    save_tiny("llama", folder, **WIDE)
    objective = Causal(load_chat(find_base(str(folder))))
    examples = [
        example
        for entry in Host().domains().values()
        for example in list(entry.value.build("train", 0))[:300]
    ]
    rows = [row for row in objective.encode(examples, 256, "train").rows if row.length <= 64]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    done = 0
    while done < steps:
        for batch in batches(rows, 12, seed=done):
            loss = objective.loss_sum(model, batch) / sum(row.learned for row in batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for options in optimizer.param_groups:
                options["lr"] = 5e-3 * min(1, (done + 1) / 20) * (1 - done / steps)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            if done == steps:
                break
    model.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    import sys
    import time

    started = time.monotonic()
    print(save_learned(Path(sys.argv[1])), time.monotonic() - started)
