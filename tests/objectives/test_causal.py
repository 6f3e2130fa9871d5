from __future__ import annotations

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from lftreg.errors import Incompatible, InvalidData
from lftreg.models.base import find_base
from lftreg.models.chat import Chat
from lftreg.models.load import load_base, load_chat
from lftreg.objectives.causal import OPENING, Causal, thinned, words_of
from lftreg.objectives.layout import lay_out
from lftreg.objectives.packing import check_packing
from lftreg.objectives.rows import IGNORED, Row
from lftreg.plugins.types import Example, Message
from tests.conftest import Tiny

PAIR = Example.pair("Where is my parcel?", "Parcels leave the barn at four.")
TURNS = Example(
    (
        Message("system", "Be brief."),
        Message("user", "Hello"),
        Message("assistant", "Good day."),
        Message("user", "Where is it?"),
        Message("assistant", "On the van."),
    )
)


@pytest.fixture(params=["tiny_llama", "tiny_gpt2"])
def chat(request: pytest.FixtureRequest) -> Chat:
    folder: Path = request.getfixturevalue(request.param)
    return load_chat(find_base(str(folder)))


def learned_text(chat: Chat, labels: tuple[int, ...]) -> str:
    return chat.tokenizer.decode([label for label in labels if label != IGNORED])


def test_only_answers_are_learned_each_with_its_stop_token(chat: Chat) -> None:
    (row,) = Causal(chat).encode([TURNS], 256, "train").rows
    text = learned_text(chat, row.labels)
    stop = chat.tokenizer.decode([chat.eos_id])
    assert [part.strip() for part in text.split(stop)] == ["Good day.", "On the van.", ""]


def test_what_is_trained_before_an_answer_is_what_generation_is_given(chat: Chat) -> None:
    for example in (PAIR, TURNS):
        (row,) = Causal(chat).encode([example], 256, "train").rows
        prompt = chat.prompt_ids(example.messages[:-1])
        assert list(row.ids[: len(prompt)]) == prompt
        assert row.labels[len(prompt)] != IGNORED


def test_labels_are_the_ids_themselves(chat: Chat) -> None:
    (row,) = Causal(chat).encode([TURNS], 256, "train").rows
    assert all(label in (IGNORED, id_) for id_, label in zip(row.ids, row.labels, strict=True))


def test_a_row_over_the_limit_is_left_out_whole(chat: Chat) -> None:
    long = Example.pair("Tell me all.", "word " * 300)
    rows = Causal(chat).encode([PAIR, long], 100, "train")
    assert len(rows) == 1
    assert rows.too_long == 1
    assert rows.longest > 300


def test_rows_that_are_all_too_long_are_refused(chat: Chat) -> None:
    with pytest.raises(InvalidData, match="every train row is longer than 4 tokens"):
        Causal(chat).encode([PAIR], 4, "train")


def test_an_empty_answer_is_named_by_its_row(chat: Chat) -> None:
    with pytest.raises(InvalidData, match="train row 2 has no answer"):
        Causal(chat).encode([PAIR, Example.pair("And this?", "")], 100, "train")


def test_pad_equal_to_eos_still_learns_the_stop(tiny_llama: Path) -> None:
    chat = load_chat(find_base(str(tiny_llama)))
    chat.tokenizer.pad_token = chat.tokenizer.eos_token
    (row,) = Causal(Chat(chat.tokenizer)).encode([PAIR], 100, "train").rows
    assert [label for label in row.labels if label != IGNORED][-1] == chat.eos_id


def test_prompt_dropout_takes_words_of_prompts_and_nothing_else(chat: Chat) -> None:
    rows = Causal(chat).encode([PAIR, TURNS] * 20, 256, "train").rows
    words = words_of(rows, chat)
    thin = thinned(rows, 0.5, words, seed=1)
    assert thin == thinned(rows, 0.5, words, seed=1)
    assert thin != thinned(rows, 0.5, words, seed=2)
    assert sum(len(row.ids) for row in thin) < sum(len(row.ids) for row in rows)
    for before, after in zip(rows, thin, strict=True):
        assert [x for x in after.labels if x != IGNORED] == [x for x in before.labels if x != IGNORED]
        assert [x for x in after.ids if x not in words] == [x for x in before.ids if x not in words]
    assert thinned(rows, 0.0, words, seed=1) == list(rows)


def test_a_bare_text_is_learned_whole_in_pieces_and_its_end_is_marked(chat: Chat) -> None:
    text = "The lamp by the door is lit at four. " * 20
    rows = Causal(chat).encode([Example.passage(text)], 64, "train").rows
    assert max(len(row.ids) for row in rows) <= 64
    assert all(row.labels == (IGNORED, *row.ids[1:]) for row in rows)  # nothing can predict the first
    ids = [id_ for row in rows for id_ in row.ids]
    assert ids[-1] == chat.eos_id
    assert chat.tokenizer.decode(ids[:-1]).strip() == text.strip()


def test_a_label_is_the_answer_of_a_model_that_answers_with_words(chat: Chat) -> None:
    labelled, asked = Example.passage("Cheap watches!", "spam"), Example.pair("Cheap watches!", "spam")
    assert Causal(chat).encode([labelled], 64, "train") == Causal(chat).encode([asked], 64, "train")


def test_openings_count_more_in_training_and_no_more_in_validation(tiny_llama: Path) -> None:
    """Row by row: the weights of a row add up to its learned tokens, so accumulation changes nothing."""
    import torch
    import torch.nn.functional as F

    loaded = load_base(find_base(str(tiny_llama)))
    model, plain, opening = (
        get_peft_model(loaded.model, LoraConfig(r=2)),
        Causal(loaded.chat),
        Causal(loaded.chat, 0, 5.0),
    )
    rows = plain.encode(
        [PAIR, TURNS, Example.pair("Well?", "It is on its way to you. " * 5)], 256, "train"
    ).rows
    model.eval()
    torch.testing.assert_close(opening.loss_sum(model, rows), plain.loss_sum(model, rows))
    model.train()
    with torch.no_grad():
        expected = torch.tensor(0.0)
        for row in rows:
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1]
            at = [n for n, label in enumerate(row.labels[1:]) if label != IGNORED]
            losses = F.cross_entropy(logits[at], torch.tensor(row.labels[1:])[at], reduction="none")
            # Each answer opens anew: where learned tokens are no neighbours, another one has begun.
            inside, weighed = 0, []
            for n, place in enumerate(at):
                inside = inside + 1 if n and at[n - 1] == place - 1 else 0
                weighed.append(5.0 if inside < OPENING else 1.0)
            weights = torch.tensor(weighed)
            expected += (losses * weights * len(at) / weights.sum()).sum()
        torch.testing.assert_close(opening.loss_sum(model, rows), expected, rtol=1e-4, atol=1e-4)
        alone = sum(opening.loss_sum(model, [row]) for row in rows)
        torch.testing.assert_close(opening.loss_sum(model, rows), alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3", "gemma", "phi3", "gpt_neox", "mistral"])
def test_packing_keeps_neighbours_apart(kind: str, tiny: Tiny) -> None:
    """Each row's loss is that of the row alone, and a changed neighbour changes nothing."""
    import torch

    loaded = load_base(find_base(str(tiny(kind))))
    model = get_peft_model(loaded.model, LoraConfig(r=2, target_modules="all-linear"))
    plain, packed = Causal(loaded.chat), Causal(loaded.chat, room=256)
    examples = [Example.pair(f"Where is parcel {n}?", f"It is on van {n}. " * (1 + n % 3)) for n in range(7)]
    rows = plain.encode(examples, 256, "train").rows
    other = plain.encode(
        [Example.pair("Quite another thing?", "Yes, another one altogether.")], 256, "train"
    ).rows
    with torch.no_grad():
        together = packed.losses(model, rows)
        torch.testing.assert_close(together, plain.losses(model, rows), rtol=1e-5, atol=1e-4)
        changed = packed.losses(model, (rows[0], *other, *rows[2:]))
    kept = [0, *range(2, 7)]
    torch.testing.assert_close(changed[kept], together[kept], rtol=1e-5, atol=1e-4)
    assert abs(changed[1] - together[1]) > 1e-3


def test_packing_fills_lines(tiny_llama: Path) -> None:
    import torch

    rows = [Row((1,) * n, (IGNORED,) * (n - 1) + (1,)) for n in (5, 3, 8, 2, 7, 5)]
    layout = lay_out(rows, torch.device("cpu"), room=10)
    assert layout.ids.shape == (3, 10)
    assert int((layout.ids == 0).sum()) == 0
    assert lay_out(rows, torch.device("cpu")).ids.shape == (6, 8)


def test_packing_is_refused_where_neighbours_are_seen(tiny: Tiny) -> None:
    """Falcon builds its mask without asking for positions."""
    loaded = load_base(find_base(str(tiny("falcon"))))
    with pytest.raises(Incompatible, match="falcon model cannot take packed rows") as caught:
        check_packing(loaded.model)
    assert caught.value.code == "rows-mix"
    check_packing(load_base(find_base(str(tiny("llama")))).model)


def test_a_pad_token_needs_no_embedding(tiny_llama: Path) -> None:
    loaded = load_base(find_base(str(tiny_llama)))
    loaded.tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    objective = Causal(loaded.chat)
    assert objective.chat.pad_id >= loaded.model.config.vocab_size
    rows = objective.encode([PAIR, TURNS], 256, "train").rows
    assert objective.losses(loaded.model, rows).isfinite().all()


def test_a_template_that_leaves_answers_out_is_refused(tiny_llama: Path) -> None:
    chat = load_chat(find_base(str(tiny_llama)))
    chat.tokenizer.chat_template = (
        "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(InvalidData, match="leaves out the assistant turn"):
        Causal(chat).encode([PAIR], 100, "train")
