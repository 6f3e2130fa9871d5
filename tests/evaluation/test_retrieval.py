from __future__ import annotations

import os
from itertools import pairwise
from math import log
from pathlib import Path

import pytest

from lftreg.errors import InvalidData, NotFound, StorageError
from lftreg.evaluation.metrics.texts import words
from lftreg.evaluation.retrieval import (
    LONGEST,
    OVERLAP,
    Index,
    cut,
    find_gold,
    read_documents,
    recall_at,
)
from lftreg.plugins.host import Host


def put(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_passages_know_their_file_and_their_place(tmp_path: Path) -> None:
    put(tmp_path, "b/returns.md", "# Returns\n\nForty days from delivery.")
    put(tmp_path, "a.txt", "Stoves are tested.")
    put(
        tmp_path,
        "page.html",
        "<h1>Kettles</h1><script>var x</script><p>Boil <b>two</b> litres &amp; more.</p>",
    )
    put(tmp_path, "photo.png", b"\x89PNG\0")
    put(tmp_path, "empty.txt", " \n")
    put(tmp_path, ".hidden.txt", "secret")
    found = read_documents(tmp_path)
    assert [(p.name, p.text) for p in found.passages] == [
        ("a.txt#0", "Stoves are tested."),
        ("page.html#0", "Kettles\nBoil two litres & more."),
        ("b/returns.md#0", "# Returns\nForty days from delivery."),
    ]
    assert found.files == 3
    assert found.left_out == {"of another kind": 1, "empty": 1}


def test_a_long_document_is_cut_between_paragraphs_and_loses_nothing() -> None:
    paragraphs = [
        f"Paragraph {n} begins here. " + " ".join(f"w{n}x{m}" for m in range(50)) + "." for n in range(9)
    ]
    passages = cut("\n\n".join(paragraphs), "long.md")
    assert [p.place for p in passages] == list(range(len(passages)))
    assert all(len(p.text.split()) <= LONGEST for p in passages)
    for paragraph in paragraphs:
        assert any(paragraph in p.text for p in passages), "a paragraph that fits stays whole"
    for before, after in pairwise(passages):
        repeated = after.text.split("\n")[0]
        assert repeated in before.text
        assert 0 < len(repeated.split()) <= OVERLAP


def test_a_paragraph_that_is_too_long_is_cut_between_sentences_then_words() -> None:
    sentences = [" ".join(f"s{n}w{m}" for m in range(60)) + "." for n in range(6)]
    endless = " ".join(f"e{m}" for m in range(3 * LONGEST))
    passages = cut(" ".join(sentences) + "\n\n" + endless, "x.txt")
    assert all(len(p.text.split()) <= LONGEST for p in passages)
    assert all(any(sentence in p.text for p in passages) for sentence in sentences)
    assert {w for p in passages for w in words(p.text)} == set(words(" ".join([*sentences, endless])))


def test_bm25_ranks_as_its_formula_says() -> None:
    """Three texts, one query of two words; Lucene's formula by hand."""
    texts = ["red pan red lid", "red sky over water at night", "blue pan"]
    average = (4 + 6 + 2) / 3

    def score(tf: int, df: int, length: int) -> float:
        idf = log(1 + (3 - df + 0.5) / (df + 0.5))
        return idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * length / average))

    by_hand = [
        score(2, 2, 4) + score(1, 2, 4),
        score(1, 2, 6),
        score(1, 2, 2),
    ]
    order = sorted(range(3), key=lambda place: -by_hand[place])
    index = Index(texts)
    assert index.search("Red pan?", 3) == order == [0, 2, 1]
    assert index.search("Red pan?", 1) == [0]
    assert index.search("water", 3) == [1], "texts without a word of the question are not found"
    assert index.search("zebra", 3) == []
    assert Index([]).search("red", 3) == []


def test_texts_of_one_score_keep_their_order() -> None:
    assert Index(["same words", "other text", "same words", "same words"]).search("same", 2) == [0, 2]


def test_gold_is_the_passage_that_holds_most_of_the_answer() -> None:
    passages = [
        *cut("Forty days from delivery, no reason needed.", "a.txt"),
        *cut("Forty days are a long time.", "b.txt"),
        *cut("From delivery you have forty days. No reason needed!", "c.txt"),
        *cut("Kettles hold two litres.", "d.txt"),
    ]
    both, none, most = find_gold(
        passages,
        ["forty days from delivery no reason needed", "Lanterns burn paraffin", "Two litres, hold on"],
    )
    assert both == (0, 2), "passages of one share are all right"
    assert none == ()
    assert most == (3,), "three words of four are enough"


def test_answers_of_one_pattern_are_not_held_by_each_other_s_passages() -> None:
    passages = [cut(f"The number{n} lantern stands on shelf{n}.", f"{n}.txt")[0] for n in range(20)]
    known, unknown = find_gold(
        passages, ["The number7 lantern stands on shelf7.", "The number99 lantern stands on shelf99."]
    )
    assert known == (7,)
    assert unknown == (), "four words of six are in every passage, and tell nothing"


def test_recall_counts_only_what_could_be_found() -> None:
    ranked = [[0, 1, 2], [2, 0, 1], [1, 0, 2], [0, 1, 2]]
    gold = [(0,), (1, 9), (2,), ()]
    assert recall_at(ranked, gold, 1) == pytest.approx(1 / 3)
    assert recall_at(ranked, gold, 3) == 1.0
    assert recall_at([[5, 1], [4]], [(1,), (0,)], 2) == 0.5
    assert recall_at([[0]], [()], 1) is None


def test_the_shop_s_own_answers_are_found_in_its_own_documents(tmp_path: Path) -> None:
    """Every answer as a document: the gold passage is the answer itself, and a search by it finds it first."""
    rows = list(Host().domain("customer_support").build("test", 0))
    for row in rows:
        put(tmp_path, f"{row.fact}.txt", row.response)
    found = read_documents(tmp_path)
    gold = find_gold(found.passages, [row.response for row in rows])
    for row, places in zip(rows, gold, strict=True):
        assert {" ".join(found.passages[p].text.split()) for p in places} == {" ".join(row.response.split())}
    index = Index([p.text for p in found.passages])
    assert recall_at([index.search(row.response, 1) for row in rows], gold, 1) == 1.0
    questions = [index.search(row.prompt, 5) for row in rows]
    shares = [recall_at(questions, gold, k) for k in (1, 3, 5)]
    assert 0 < shares[0] < shares[1] < shares[2] < 1, (
        "more passages hold more answers, and questions are no answers"
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"PK\x03\x04\0\0", "binary file"),
        ("a.md", "na\xefve".encode("latin-1"), "not UTF-8"),
        ("a.pdf", b"%PDF", "holds no text"),
        ("a.txt", b"", "only empty texts"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    put(tmp_path, name, content)
    with pytest.raises(InvalidData, match=says):
        read_documents(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        read_documents(tmp_path / "gone")
    with pytest.raises(InvalidData, match="holds no file"):
        read_documents(tmp_path)
    put(tmp_path, "a.txt", "x")
    with pytest.raises(InvalidData, match="is a file"):
        read_documents(tmp_path / "a.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "x")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(StorageError, match=r"a\.txt cannot be read"):
        read_documents(tmp_path)
