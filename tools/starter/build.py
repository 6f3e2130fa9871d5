"""Rebuild the starter base model: `python tools/starter/build.py --corpus DIR --out DIR`.

Corpus and code are read, conversations shaped, the tokenizer trained, the network trained, exported,
measured on held-out documents, and the model card written. `--prepare` stops before the training, so that
what `--work` then holds can be carried to a machine with a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from card import write_card
from corpus import Package, Part, collect_code, read_documents, read_prose, write_documents
from evaluate import Measure, measure_all
from model import Llama, Shape, export, rounded
from pretrain import SHARES, Recipe, Stream, encode, pretrain
from shape import shape, take_topics
from tokenizer import sample, save, train
from tokenizers import Tokenizer

STEPS = 13000


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=Path, required=True, help="folder with the *.txt.xz parts and SOURCES*.md"
    )
    parser.add_argument("--out", type=Path, required=True, help="where the model folder is written")
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="keeps code and tokenizer")
    parser.add_argument("--prepare", action="store_true", help="collect code, train the tokenizer, and stop")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps of 65,536 tokens")
    parser.add_argument("--seconds", type=float, default=0.0, help="end by the clock instead")
    parser.add_argument("--rows", type=int, default=64, help="rows of 1,024 tokens in a step")
    parser.add_argument("--report", type=Path, help="where report.json goes (default: into --work)")
    return parser.parse_args()


def load_code(work: Path) -> tuple[Part, list[Package]]:
    """The code part: what an earlier call has collected, or else what this machine has installed."""
    train_file, held_out_file, names_file = (
        work / name for name in ("code.txt.xz", "code.val.txt.xz", "code.json")
    )
    if train_file.exists():
        packages = [Package(**entry) for entry in json.loads(names_file.read_text())]
        return Part(read_documents(train_file), read_documents(held_out_file)), packages
    work.mkdir(parents=True, exist_ok=True)
    part, packages = collect_code()
    write_documents(held_out_file, part.held_out)
    names_file.write_text(json.dumps([asdict(package) for package in packages], indent=1))
    write_documents(train_file, part.train)
    return part, packages


def load_parts(corpus: Path, work: Path) -> tuple[dict[str, Part], list[Package]]:
    """All parts, the chat-shaped one made from the others."""
    parts = read_prose(corpus)
    parts["code"], packages = load_code(work)
    parts["wordings"] = take_topics(parts["support"])
    parts["chat"] = shape(parts)
    return parts, packages


def load_tokenizer(parts: dict[str, Part], work: Path) -> Tokenizer:
    """The tokenizer of an earlier call, or a new one trained on 30 million characters of the mix."""
    file = work / "tokenizer.json"
    if not file.exists():
        train(sample(parts, SHARES, 30_000_000)).save(str(file))
    return Tokenizer.from_file(str(file))


def encode_parts(
    tokenizer: Tokenizer, parts: dict[str, Part]
) -> tuple[dict[str, Stream], dict[str, Measure]]:
    """Token streams to train on and to measure on."""
    streams = {name: encode(tokenizer, part.train) for name, part in parts.items()}
    held_out = {name: encode(tokenizer, part.held_out) for name, part in parts.items()}
    return streams, {name: Measure(stream.tokens, stream.bytes) for name, stream in held_out.items()}


def published(model: Llama) -> Llama:
    """The model with its weights rounded as they are published: the figures are of these."""
    model.load_state_dict({name: weight.float() for name, weight in rounded(model).items()})
    return model


def main() -> None:
    """Build all of it."""
    options, began = arguments(), time.perf_counter()
    shape_, device = Shape(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts, packages = load_parts(options.corpus, options.work)
    tokenizer = load_tokenizer(parts, options.work)
    if options.prepare:
        return
    streams, measures = encode_parts(tokenizer, parts)
    print({name: f"{len(s.tokens) / 1e6:.2f}M tokens" for name, s in streams.items()}, flush=True)
    print(f"prepared in {time.perf_counter() - began:.0f}s", flush=True)
    recipe = Recipe(steps=0 if options.seconds else options.steps, seconds=options.seconds, rows=options.rows)
    model, outcome = pretrain(streams, measures, recipe, shape_, device)
    model = published(model)
    export(model, options.out)
    save(tokenizer, options.out, shape_.context)
    report = asdict(outcome) | {
        "bits_per_byte": {
            window: measure_all(model, measures, window, device) for window in (512, shape_.context)
        },
        "unique_tokens": {name: len(stream.tokens) for name, stream in streams.items()},
        "held_out_bytes": {name: measure.bytes for name, measure in measures.items()},
        "total_seconds": round(time.perf_counter() - began),
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "packages": [asdict(package) for package in packages],
    }
    file = options.report or options.work / "report.json"
    file.write_text(json.dumps(report, indent=1) + "\n")
    write_card(options.corpus, json.loads(file.read_text()), options.out / "README.md")
    print(json.dumps(report["bits_per_byte"], indent=1), f"{report['total_seconds']}s in all", flush=True)


if __name__ == "__main__":
    main()
