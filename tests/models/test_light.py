"""The tokenizer that needs no torch makes the same of a conversation as transformers' own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError

from lftreg.errors import InvalidData
from lftreg.models.base import find_base
from lftreg.models.chat import Chat
from lftreg.models.light import light_tokenizer
from lftreg.models.load import load_tokenizer
from lftreg.objectives.causal import Causal
from lftreg.plugins.types import Example
from tests.conftest import Tiny
from tests.models.templates import KINDS
from tests.models.test_chat import BRIEFED, CALLED, PAIR, TURNS, chat_of


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_ids_under_every_template(kind: str, tmp_path: Path) -> None:
    theirs = chat_of(KINDS[kind])
    theirs.tokenizer.save_pretrained(tmp_path)
    light = light_tokenizer(tmp_path)
    assert light is not None
    assert light.eos_token_id == theirs.tokenizer.eos_token_id
    assert set(light.all_special_ids) >= set(theirs.tokenizer.all_special_ids)
    for example in (PAIR, TURNS, BRIEFED, CALLED):
        try:
            expected = Causal(theirs).encode([example], 512, "train")
        except InvalidData as error:
            with pytest.raises(InvalidData) as caught:
                Causal(Chat(light)).encode([example], 512, "train")
            assert caught.value.message == error.message
        else:
            assert Causal(Chat(light)).encode([example], 512, "train") == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "t5"])
def test_the_same_ids_for_every_kind_of_base(kind: str, tiny: Tiny) -> None:
    base = find_base(str(tiny(kind)))
    light, theirs = light_tokenizer(base.folder), load_tokenizer(base)
    assert light is not None
    for text in ("Where is my parcel?", "  Über uns\n\n", ""):
        for special in (True, False):
            expected = theirs(text, add_special_tokens=special)["input_ids"]
            assert light(text, add_special_tokens=special)["input_ids"] == expected
    assert (light.mask_token_id, light.pad_token_id) == (theirs.mask_token_id, theirs.pad_token_id)
    assert len(light) == len(theirs)


def test_a_template_cannot_reach_python(tmp_path: Path) -> None:
    theirs = chat_of(KINDS["ChatML"])
    theirs.tokenizer.save_pretrained(tmp_path)
    light = light_tokenizer(tmp_path)
    assert light is not None
    for attack in ("{{ messages.__class__.__mro__ }}", "{{ dict.__init__.__globals__ }}",
                   "{% set n = namespace(__class__=1) %}", "{{ namespace.__globals__.x }}"):  # fmt: skip
        with pytest.raises((TemplateError, AttributeError)):
            light.apply_chat_template([{"role": "user", "content": "x"}], chat_template=attack)


def test_a_folder_without_words_has_none(tmp_path: Path) -> None:
    assert light_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(InvalidData, match="cannot be read"):
        light_tokenizer(tmp_path)


def test_texts_that_no_template_is_asked_for(tmp_path: Path) -> None:
    theirs = chat_of(KINDS["Zephyr"])
    theirs.tokenizer.save_pretrained(tmp_path)
    light = light_tokenizer(tmp_path)
    passage = [Example.passage("The lamp by the door is lit at four.")]
    assert Causal(Chat(light)).encode(passage, 64, "train") == Causal(theirs).encode(passage, 64, "train")
