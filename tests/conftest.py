"""What every test shares: a home of its own, no network, and small real models made on the spot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lftreg.registry import Registry

# Set before any library reads them: nothing here may ask a server for anything.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LFTREG_HOME, for this process and those it starts."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LFTREG_HOME", str(folder))
    for name in [name for name in os.environ if name.startswith("LFTREG_") and name != "LFTREG_HOME"]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def registry(home: Path) -> Registry:
    from lftreg.paths import Home
    from lftreg.registry import Registry

    return Registry(Home(home))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaMA of two layers with the starter's tokenizer, in a folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,  # with the usual 0.02 so small a model could never be sure of a word
        tie_word_embeddings=True,
    )
    return _saved(LlamaForCausalLM, config, tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of two layers, in a folder; its tokenizer has no chat template."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=8192,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    return _saved(GPT2LMHeadModel, config, tmp_path_factory.mktemp("tiny-gpt2"), template=False)


def _saved(model_class: type, config: object, folder: Path, template: bool = True) -> Path:
    import torch
    from transformers import AutoTokenizer

    from lftreg.paths import starter_folder

    tokenizer = AutoTokenizer.from_pretrained(starter_folder())
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    if not template:
        tokenizer.chat_template = None
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)  # type: ignore[attr-defined]
    tokenizer.save_pretrained(folder)
    return folder
