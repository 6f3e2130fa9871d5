"""Texts as vectors: what the bare base makes of them, which no adapter can move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.models.load import Loaded
from lftreg.models.sources import pad_id_of
from lftreg.models.tasks import length_limit

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH = 16  # texts that share a forward pass; vectors do not depend on it


def mean_pooled(loaded: Loaded, model: Any, texts: Sequence[str], batch: int = BATCH) -> np.ndarray:
    """The last hidden state of each text, averaged over its tokens: float32, (texts, width).

    `model` is what `AdapterModel.using(None)` gives: the base, with any adapter switched off. Markers that the
    tokenizer sets around a text are read but not averaged: the first position of a language model draws attention
    and tells nothing of the text (Xiao et al. 2023, arXiv 2309.17453). Equal texts are read once. A text is cut at
    the base's limit of positions; one without a token is the zero vector.
    """
    import numpy as np

    distinct = list(dict.fromkeys(texts))
    found = np.zeros((len(distinct), _width(loaded)), np.float32)
    rows = {at: ids for at, ids in enumerate(_rows(loaded, distinct)) if _told(loaded, ids)}
    order = sorted(rows, key=lambda at: len(rows[at]))  # alike lengths side by side: little padding
    for start in range(0, len(order), max(1, batch)):
        places = order[start : start + max(1, batch)]
        found[places] = _pooled(loaded, model, [rows[at] for at in places])
    index = {text: at for at, text in enumerate(distinct)}
    return found[[index[text] for text in texts]]


def _rows(loaded: Loaded, texts: Sequence[str]) -> list[list[int]]:
    limit = length_limit(loaded.base.config, None)
    return [list(loaded.tokenizer(text)["input_ids"])[:limit] for text in texts]


def _told(loaded: Loaded, ids: Sequence[int]) -> bool:
    """Whether a row holds any token that is of the text itself."""
    return not set(ids) <= set(loaded.tokenizer.all_special_ids)


def _width(loaded: Loaded) -> int:
    return int(loaded.model.get_input_embeddings().embedding_dim)


def _pooled(loaded: Loaded, model: Any, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Means over the tokens of each row, (rows, width)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    kept = [torch.tensor(row) for row in rows]
    ids = pad_sequence(kept, batch_first=True, padding_value=pad_id_of(loaded.tokenizer)).to(loaded.device)
    lengths = torch.tensor([len(row) for row in rows], device=loaded.device)
    mask = (torch.arange(ids.shape[1], device=loaded.device) < lengths[:, None]).long()
    special = torch.tensor(sorted(loaded.tokenizer.all_special_ids), device=loaded.device)
    weights = (mask.bool() & ~torch.isin(ids, special)).float()
    with torch.inference_mode():
        states: torch.Tensor = _trunk(model)(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        means = (states * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
    vectors: np.ndarray = means.cpu().numpy()
    return vectors


def _trunk(model: Any) -> Any:
    """The layers below a model's head, whose logits nobody needs; of a translator its encoder."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    return bare.get_encoder() if bare.config.is_encoder_decoder else bare.base_model
