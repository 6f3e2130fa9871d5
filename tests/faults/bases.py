"""Bases that are broken, strange, or asked for what they have not got."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import kinds
from tests.faults.data import CHAT, of_rows
from tests.faults.kinds import Case, Caught, Make, Setup, pairs, train_on
from tests.faults.templates import copied, edited, talking

Tensors = dict[str, Any]


def weights(change: Callable[[Tensors], Any]) -> Callable[[Path], None]:
    """The tensors of a base's file with something changed."""

    def write(base: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(base / "model.safetensors")
        change(tensors)
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})

    return write


def _poisoned(tensors: Tensors) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = float("nan")


def _cut_off(base: Path) -> None:
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-2000])


def _sharded(base: Path) -> None:
    """Two files of weights, of which one came."""
    from safetensors import safe_open

    whole = base / "model.safetensors"
    with safe_open(whole, "pt") as file:
        names = sorted(file.keys())
    parts = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    index = {"metadata": {}, "weight_map": {name: parts[n % 2] for n, name in enumerate(names)}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    whole.rename(base / parts[0])


def _pickled(base: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()


def _lost_index(base: Path) -> None:
    _sharded(base)
    (base / "model.safetensors.index.json").write_text("{")


def _more_words_than_rows(base: Path) -> None:
    """New words in the tokenizer, and embeddings that were never made larger."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["noon", "parcel"])
    tokenizer.save_pretrained(base)


def _new_pad_token(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(base)


def _foreign(base: Path) -> None:
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    edited(base / "config.json", lambda config: config.update(model_type="own", auto_map=classes))
    (base / "own.py").write_text("raise SystemExit('code of the base ran unasked')\n")


def _mixed_layers(folder: Path, make: Make) -> Setup:
    """A hybrid: one layer of attention, one of another kind, which has no q_proj."""
    import torch
    from transformers import Lfm2Config, Lfm2ForCausalLM

    base = copied(folder, make("llama"))
    vocabulary = json.loads((base / "config.json").read_text())["vocab_size"]
    config = Lfm2Config(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, layer_types=["conv", "full_attention"],
        bos_token_id=0, eos_token_id=5, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    Lfm2ForCausalLM(config).save_pretrained(base)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs()))
    return Setup(train_on(path, base, "--targets", "q_proj"), base, path)


def _beyond_positions(folder: Path, make: Make) -> Setup:
    """GPT-2 learned its positions: behind the last one there is none."""
    rows = [*pairs(), {"prompt": "Where is it?", "completion": "It is on its way to you. " * 60}]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = make("gpt2")
    return Setup(train_on(path, base, "--max-length", "4096"), base, path)


def both_names(seen: kinds.Seen, setup: Setup) -> str | None:
    named = {name.rpartition(".")[2] for name in seen.moved}
    return f"only {', '.join(sorted(named))} got an adapter" if len(named) < 2 else None


CASES = (
    Case(
        "target in some layers", "target names match only some layers, silently",
        _mixed_layers, Caught("partial-target", r"'q_proj' is in layer 1 of model.layers only; layer 0 lacks it"),
        holds=kinds.every_layer, trl={"targets": ["q_proj"]},
    ),
    Case(
        "one of two targets unknown", "a typing error among target names passes",
        of_rows(pairs(), "--targets", "q_proj,v_porj"),
        Caught("unknown-target", r"no module of this llama model is called 'v_porj'. Did you mean 'v_proj'", 3),
        clear="v_porj", holds=both_names, trl={"targets": ["q_proj", "v_porj"]},
    ),
    Case(
        "target that is no linear layer", "a name of something else",
        of_rows(pairs(), "--targets", "self_attn"),
        Caught("not-linear", r"'self_attn' takes model.layers.0.self_attn \(LlamaAttention\)"),
        clear=r"self_attn|LlamaAttention", holds=kinds.every_layer, trl={"targets": ["self_attn"]},
    ),
    Case(
        "target by a pattern", "a regular expression in a list matches nothing",
        of_rows(pairs(), "--targets", r".*\.q_proj"),
        Caught("unknown-target", r"is called '\.\*.*q_proj'", 3),
        clear="q_proj", holds=kinds.every_layer, trl={"targets": [r".*\.q_proj"]},
    ),
    Case(
        "weight that is no number", "NaN is hidden, loss 0 is logged",
        talking(weights(_poisoned)),
        Caught("broken-base", r"no finite number in model.layers.1.mlp.up_proj.weight", when="load"),
        clear=r"\bnan\b|not.finite|finite number", holds=kinds.finite, trl=CHAT,
    ),
    Case(
        "more words than embeddings", "IndexError in the embedding",
        talking(_more_words_than_rows),
        Caught("unknown-ids", r"train row 1 holds the token '\w+' \(\d+\), and the base has \d+ embeddings"),
        clear=r"embedding|vocab", holds=kinds.finished,
        trl=CHAT,
    ),
    Case(
        "pad token without an embedding", "a pad token was added, and the embeddings were never made larger",
        talking(_new_pad_token), holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "longer than its positions", "rows longer than the base has positions for",
        _beyond_positions, clear=r"position", holds=kinds.within_positions(256), trl={"max_length": 4096},
    ),
    Case(
        "code of its own", "a base that needs remote code",
        talking(_foreign), Caught("remote-code", r"needs Python code that comes with it", 5),
        clear=r"trust.remote.code", holds=kinds.finished, trl=CHAT,
    ),
    Case(
        "cut off", "a download that broke off",
        talking(_cut_off), Caught("cut-short", r"model.safetensors is cut short: [0-9,]+ bytes of [0-9,]+"),
        clear=r"safetensors|incomplete|truncated|buffer", holds=kinds.finished, trl=CHAT,
    ),
    Case(
        "config that is no JSON", "a damaged folder",
        talking(lambda base: (base / "config.json").write_text('{"model_type": ')),
        Caught("invalid-data", r"config.json is not JSON"), clear=r"config", holds=kinds.finished, trl=CHAT,
    ),
    Case(
        "config that makes no sense", "a damaged folder",
        talking(lambda base: edited(base / "config.json", lambda config: config.update(vocab_size="many"))),
        Caught("invalid-config", r"config.json that makes no sense: .*'vocab_size' expected int"),
        clear=r"vocab_size", holds=kinds.finished, trl=CHAT,
    ),
    Case(
        "settings of generation that are no JSON", "a damaged folder",
        talking(lambda base: (base / "generation_config.json").write_text("{")),
        Caught("invalid-data", r"generation_config.json that cannot be read"),
        clear=r"generation_config", holds=kinds.stops, trl=CHAT,
    ),
    Case(
        "no tokenizer", "a base without its tokenizer",
        talking(lambda base: [path.unlink() for path in base.glob("tokenizer*")]),
        Caught("no-tokenizer", r"no tokenizer that can be read"), clear=r"tokenizer", holds=kinds.finished,
        trl=CHAT,
    ),
    Case(
        "shard that is not there", "a download that broke off",
        talking(_sharded), Caught("missing-shard", r"lacks model-00002-of-00002.safetensors", 3),
        clear=r"model-00002", holds=kinds.finished, trl=CHAT,
    ),
    Case(
        "index of shards that is no JSON", "a damaged folder",
        talking(_lost_index),
        Caught("invalid-data", r"model.safetensors.index.json cannot be read"),
        clear=r"index.json", holds=kinds.finished, trl=CHAT,
    ),
    Case(
        "weights that are not there", "a weight is drawn at random, with a warning among others",
        talking(weights(lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))),
        Caught("headless-base", r"lacks model.layers.1.mlp.up_proj.weight", when="load"),
        holds=kinds.whole_base, trl=CHAT,
    ),
    Case(
        "pickled weights", "a base that runs code when it is opened",
        talking(_pickled),
        Caught("pickled-base", r"only pickled weights"),
        clear=r"safetensors|pickle|weights", holds=kinds.stops, trl=CHAT,
    ),
    Case(
        "no such base", "a path with a typing error",
        lambda folder, make: Setup(
            train_on(of_rows(pairs())(folder, make).data or folder, folder / "basse"),
            folder / "basse", folder / "rows.jsonl",
        ),
        Caught("not-found", r"no base model folder at", 3),
        clear=r"basse", holds=kinds.finished, trl={},
    ),
)  # fmt: skip
