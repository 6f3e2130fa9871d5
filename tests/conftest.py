"""What every test shares: a home of its own, no network, and small real models made on the spot."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from lftreg.registry import Registry
    from tests.postgres import Postgres

# Set before any library reads them: nothing here may ask a server for anything.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_XET_HIGH_PERFORMANCE"] = "1"  # as lm_eval has it for all that begins after its import


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: ("test_main_job" not in item.nodeid, item.get_closest_marker("slow") is None))


def take_ctrl_c() -> None:
    """For `preexec_fn`: whoever was started in the background inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def settings_of_libraries() -> Iterator[None]:
    """They are the same after a test: else all commands of later ones would be started anew, seconds each."""
    from tests import forks

    before = dict(os.environ)
    yield
    changed = forks.changed(os.environ, before)
    for name in changed:
        os.environ.pop(name)
        os.environ |= {name: before[name]} if name in before else {}
    assert changed == []


@pytest.fixture(autouse=True)
def home(settings_of_libraries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LFTREG_HOME, for this process and those it starts; of the tester's own settings nothing is read."""
    folder = tmp_path / "home"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
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
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL of this test process."""
    from tests.postgres import running

    with running() as server:
        yield server


# Small random models of every family, by model type: loader of transformers, and what makes it small.
WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
FEW = {**WIDTH, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256}
ENCODER = {**WIDTH, "max_position_embeddings": 258, "initializer_range": 0.3}
# With the usual 0.02 so small a model could never be sure of a word.
SURE = {"initializer_range": 0.3, "tie_word_embeddings": True}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("AutoModelForCausalLM", FEW | SURE),
    "mistral": ("AutoModelForCausalLM", FEW | SURE),
    "qwen2": ("AutoModelForCausalLM", FEW | SURE),
    "qwen3": ("AutoModelForCausalLM", FEW | SURE),
    "gemma": ("AutoModelForCausalLM", FEW | SURE),
    "phi3": ("AutoModelForCausalLM", FEW | SURE),
    "gpt_neox": ("AutoModelForCausalLM", WIDTH | SURE | {"max_position_embeddings": 256}),
    "falcon": ("AutoModelForCausalLM", {**WIDTH, **SURE, "num_kv_heads": 2, "max_position_embeddings": 256}),
    "gpt2": (
        "AutoModelForCausalLM",
        {
            "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256,
            "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0, **SURE,
        },
    ),
    "t5": (
        "AutoModelForSeq2SeqLM",
        {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8, "dropout_rate": 0},
    ),
    "bert": ("AutoModelForMaskedLM", ENCODER),
    "roberta": ("AutoModelForMaskedLM", ENCODER),
}  # fmt: skip
Tiny = Callable[[str], Path]


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """A folder by its name, filled by the first of all test processes that asks for it."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def find(name: str, make: Callable[[Path], object]) -> Path:
        folder, ready = shared / name, shared / f"{name}.ready"
        with FileLock(shared / f"{name}.lock"):
            if not ready.exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                ready.touch()
        return folder

    return find


@pytest.fixture(scope="session")
def tiny(once: Once) -> Tiny:
    """A random model of two layers by its model type, with the starter's tokenizer, in a folder."""
    return lambda model_type: once(f"tiny-{model_type}", partial(save_tiny, model_type))


@pytest.fixture(scope="session")
def tiny_llama(tiny: Tiny) -> Path:
    return tiny("llama")


@pytest.fixture(scope="session")
def tiny_gpt2(tiny: Tiny) -> Path:
    """Its tokenizer has no chat template."""
    return tiny("gpt2")


@pytest.fixture(scope="session")
def parrots(once: Once, tiny_llama: Path) -> Path:
    """A home with `red`, `blue`, and `crimson`, which is `red` under another name; never to be written to."""
    from tests.evaluation.parrots import fill

    return once("parrots", lambda folder: fill(folder, tiny_llama)) / "home"


@pytest.fixture
def taught(parrots: Path, home: Path) -> Registry:
    """The registry of this test, and of its commands, with the parrots in it."""
    from lftreg.paths import Home
    from lftreg.registry import Registry

    shutil.copytree(parrots, home)
    return Registry(Home(home))


def save_tiny(model_type: str, folder: Path, **wide: Any) -> Path:
    """Write one to a folder; `wide` changes its configuration."""
    import torch
    import transformers

    loader, small = TINY[model_type]
    tokenizer = transformers.AutoTokenizer.from_pretrained(_tokenizer(folder, loader))
    if model_type == "gpt2":
        tokenizer.chat_template = None
    special = {n: getattr(tokenizer, n) for n in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if loader == "AutoModelForSeq2SeqLM":
        special["decoder_start_token_id"] = tokenizer.pad_token_id
    config = transformers.AutoConfig.for_model(
        model_type, vocab_size=len(tokenizer), **special, **small | wide
    )
    torch.manual_seed(0)
    getattr(transformers, loader).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(folder: Path, loader: str) -> Path:
    """The starter's tokenizer; for other tasks one of the same words that marks texts as theirs do."""
    from lftreg.paths import starter_folder

    if loader == "AutoModelForCausalLM":
        return starter_folder()
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer.from_file(str(starter_folder() / "tokenizer.json"))
    words.add_special_tokens(["[MASK]"])
    around = "<|bos|> $A <|end|>" if loader == "AutoModelForMaskedLM" else "$A <|end|>"
    marks = [(mark, words.token_to_id(mark)) for mark in ("<|bos|>", "<|end|>")]
    words.post_processor = processors.TemplateProcessing(single=around, special_tokens=marks)
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, cls_token="<|bos|>", sep_token="<|end|>", eos_token="<|end|>",
        pad_token="<|pad|>", mask_token="[MASK]", model_max_length=256,
    )  # fmt: skip
    made.save_pretrained(folder)
    return folder
