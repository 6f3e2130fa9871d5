"""Text that comes token by token is the text of all tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftreg.models.load import folder_tokenizer
from lftreg.paths import starter_folder
from lftreg.serving.writing import Writing


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return folder_tokenizer(Path(starter_folder()), "starter")


def pieces(tokenizer, ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], Writing]:  # type: ignore[no-untyped-def]
    writing, made = Writing(tokenizer, stop), []
    for id_ in ids:
        made.append(writing.add(id_))
        if writing.stopped:
            break
    return [*made, writing.end()], writing


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_the_pieces_are_the_text(text: str) -> None:
    tokenizer = folder_tokenizer(Path(starter_folder()), "starter")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    made, _ = pieces(tokenizer, ids)
    assert "".join(made) == tokenizer.decode(ids, skip_special_tokens=True)


def test_no_half_character_is_told(tokenizer) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer("é 🦊 ß 漢字", add_special_tokens=False)["input_ids"]
    made, _ = pieces(tokenizer, ids)
    assert not any("\ufffd" in piece for piece in made)
    assert "".join(made) == "é 🦊 ß 漢字"


def test_bytes_that_are_no_character_come_at_the_end(tokenizer) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer("fox 🦊", add_special_tokens=False)["input_ids"][:-1]
    made, _ = pieces(tokenizer, ids)
    assert "".join(made) == tokenizer.decode(ids)


@pytest.mark.parametrize("stop", ["refund", " ref", "d on", "your", "\n", "nd on t"])
def test_a_stop_text_over_several_tokens(stop: str, tokenizer) -> None:  # type: ignore[no-untyped-def]
    text = "You get a refund on the day your parcel is here.\nThanks."
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    made, writing = pieces(tokenizer, ids, (stop, "never"))
    assert writing.stopped
    assert "".join(made) == text[: text.index(stop)]


def test_what_only_began_like_a_stop_text_is_told_in_the_end(tokenizer) -> None:  # type: ignore[no-untyped-def]
    text = "You get a refund"
    made, writing = pieces(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"], ("refunds",))
    assert not writing.stopped
    assert "".join(made) == text
