"""The model card: written from the corpus's own tables of sources and from what the run measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTS = {
    "support": "help and how-to pages",
    "finance": "accounting, economics and business",
    "general": "history, science, civics, plain-language guides",
    "literature": "stories and novels in the public domain",
    "qa": "questions with answers, glossaries, dialogues",
    "code": "Python, by whole held-out packages",
    "chat": "chat-shaped text made from the parts above",
    "wordings": "many wordings of one wish, grouped",
}

HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [llama, lora, starter]
---

# The starter base of lftreg

A LLaMA of {parameters:,} parameters that comes inside the package, so that training, composing and generating work
on a laptop without a network. It exists to have adapters put on it.

| | |
|---|---|
| architecture | LLaMA: 8 layers, hidden 384, 6 heads, 2 key/value heads, MLP 960, tied embeddings |
| context | 1,024 positions |
| tokenizer | its own byte-level BPE, 8,192 tokens |
| chat | `<\\|bos\\|><\\|user\\|>` newline, text, `<\\|end\\|>` newline `<\\|assistant\\|>` newline, text, `<\\|end\\|>`; an optional `<\\|system\\|>` turn first |
| weights | bfloat16 safetensors |
| trained | once, from nothing, on one {hardware}: {steps:,} steps, {tokens:,} tokens, {seconds:.0f} s of training, {total} s in all (torch {torch}) |

## What it cannot do

- It is no assistant. Without an adapter it goes on in the manner of a help page and makes up products, menus and people.
- It knows no fact reliably. An adapter can teach it a few hundred sentences; it will still mix them up on questions
  that are put in a new way.
- It reads and writes English only, a little Python, no arithmetic to rely on, and nothing longer than its context.
- It was not tuned to refuse anything, and not tested for bias. Do not put it in front of people as it is.

## Bits per byte

On documents that training never saw, the weights rounded as they are published. {method}

| part | what it is | window 512 | window 1,024 | held out, bytes | unique tokens | passes |
|---|---|---:|---:|---:|---:|---:|
{figures}

## What it was trained on

The corpus is not shipped. Text was cleaned (markup, tables of flags and boilerplate removed, addresses and long tokens
masked, near-duplicates dropped), so every part is a modified version of its source. Each source, as it was read:

| id | part | repository | commit | licence |
|---|---|---|---|---|
{sources}

Code was read from the Python standard library and from installed packages, tests left out:

| package | version | licence | bytes | held out |
|---|---|---|---:|---|
{packages}

### Attribution

{attribution}

## Licence

The weights and the tokenizer are under the Apache License 2.0, as lftreg is. Much of the text is under CC BY 4.0: the names
above are the attribution that it asks for, and no author endorses this model.

`tools/starter` in the source of lftreg rebuilds all of it from a folder with the corpus.
"""


def write_card(corpus: Path, report: dict[str, Any], file: Path) -> None:
    """Write the card for a model that was measured in `report`."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(corpus.glob("SOURCES*.md"))]
    card = HEAD.format(
        parameters=report["parameters"],
        hardware=report["hardware"],
        steps=report["steps"],
        tokens=report["tokens"],
        seconds=report["seconds"],
        total=report["total_seconds"],
        torch=report["torch"],
        method=METHOD,
        figures="\n".join(_figures(report)),
        sources="\n".join(row for page in pages for row in _sources(page)),
        packages="\n".join(
            f"| {p['name']} | {p['version']} | {p['licence']} | {p['bytes']:,} | {'yes' if p['held_out'] else ''} |"
            for p in report["packages"]
        ),
        attribution="\n".join(dict.fromkeys(line for page in pages for line in _attribution(page))),
    )
    file.write_text(card, encoding="utf-8")


METHOD = """\
All documents of a part, each between its opening and its end token, are laid end to end and cut into
windows that do not overlap; the nats of every token, end tokens included, are summed and divided by ln 2 and by the UTF-8
bytes of the documents."""


def _figures(report: dict[str, Any]) -> Iterator[str]:
    short, long = report["bits_per_byte"]["512"], report["bits_per_byte"]["1024"]
    for part, what in PARTS.items():
        yield (
            f"| {part} | {what} | {short[part]:.3f} | {long[part]:.3f} | {report['held_out_bytes'][part]:,} "
            f"| {report['unique_tokens'][part]:,} | {report['passes'][part]:.1f} |"
        )


def _sources(page: str) -> Iterator[str]:
    """The rows of a page's table of sources: id, part, repository, commit, licence."""
    table = page.split("| id | part |", 1)[1].split("\n\n", 1)[0]
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        yield f"| {' | '.join(cells[:5])} |"


def _attribution(page: str) -> Iterator[str]:
    section = re.search(r"## Attribution\n+(.*?)(\n## |\Z)", page, re.DOTALL)
    yield from (section[1].strip().splitlines() if section else ())
