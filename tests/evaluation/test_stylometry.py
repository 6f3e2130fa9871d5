from __future__ import annotations

import numpy as np
import pytest

from lftreg.evaluation.stylometry import ENGLISH, Encoder, Surprise, kept_words, masked, read


def test_content_is_masked_and_style_stays() -> None:
    assert (
        masked("Returns take 10 days, if you’re in the UK.", ENGLISH)
        == "Xxxxxxx xxxx 00 xxxx, if you’re in the XX."
    )


def test_texts_of_other_content_and_the_same_style_are_read_alike() -> None:
    one = read("The green parcel is in the van, and it will be there by noon.", ENGLISH)
    other = read("The quiet animal is in the hut, and it will be there by dusk.", ENGLISH)
    assert (one.trigrams, one.words, one.marks) == (other.trigrams, other.words, other.marks)
    assert one.tokens == other.tokens


def test_function_words_are_those_of_english_or_the_short_ones_that_texts_share() -> None:
    german = [
        f"Das {noun} ist auf dem Tisch und nicht in der Kiste." for noun in ("Buch", "Glas", "Brot", "Messer")
    ]
    assert kept_words(["The book is on the table and not in the box."] * 3) == ENGLISH
    assert {"das", "ist", "und", "der"} <= kept_words(german)
    assert not {"buch", "glas", "tisch", "nicht"} & kept_words(german)


@pytest.mark.parametrize(
    "text", ["", "   ", "…", "12", "ü", "नमस्ते दुनिया।", "これは本です。それはペンです。", "\n\n"]
)
def test_any_text_can_be_read_and_placed(text: str) -> None:
    known = [read(f"A line, number {n}.", ENGLISH) for n in range(5)]
    rows = Encoder(known).rows([read(text, ENGLISH)])
    assert np.isfinite(rows).all()
    assert Surprise([w.characters for w in known]).bits(read(text, ENGLISH).characters) > 0


def test_marks_that_combine_are_no_punctuation() -> None:
    assert set(read("नमस्ते दुनिया।", ENGLISH).marks) == {"।"}
    assert read("cafe\u0301", ENGLISH) == read("caf\u00e9", ENGLISH)


def test_the_chances_of_all_that_may_follow_add_up_to_one() -> None:
    model = Surprise([tuple("^^abracadabra$"), tuple("^^cab$")])
    known = "^abrcd$"
    for context in ("ab", "^^", "zz", "za", "$a"):
        total = sum(model._chance((*context, mark)) for mark in known) + model._chance((*context, "?"))
        assert total == pytest.approx(1.0)


def test_what_was_learned_surprises_less_than_its_reverse() -> None:
    model = Surprise([tuple("^^the cat sat on the mat$")])
    assert model.bits(tuple("^^the cat sat$")) < model.bits(tuple("^^tas tac eht$"))


def test_disorder_is_about_order_and_not_about_what_is_rare() -> None:
    model = Surprise([tuple("^^the cat sat on the mat$"), tuple("^^a cat sat on a hat$")])
    assert model.disorder(tuple("^^the cat sat$")) < model.disorder(tuple("^^teh tac tas$"))
    assert model.bits(tuple("^^the cat sat$"), 0) == pytest.approx(model.bits(tuple("^^teh tac tas$"), 0))
