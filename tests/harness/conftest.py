"""Tasks of lm-eval in a folder, over rows in files beside them, one for each way that it asks a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

CHOICES = [
    {"question": "To send it back I need", "choices": [" a receipt", " a song", " the moon"], "gold": 0},
    {"question": "An emergency fund is", "choices": [" a fish", " savings for bad times"], "gold": 1},
    {"question": "def add(a, b):", "choices": [" return a + b", " the parcel is late"], "gold": 0},
]  # fmt: skip
QUESTIONS = [
    {"question": "How long do I have to return something?", "answer": "Thirty days"},
    {"question": "Where is it?", "answer": "Here"},
    {"question": "What is an emergency fund, in a sentence or two, please?", "answer": "Savings"},
]
# The second is longer than the starter's 1024 positions.
TEXTS = [
    {"page": "You can send a parcel back within thirty days."},
    {
        "page": " ".join(
            f"On day {n} the parcel was {n % 7} miles from the town of Nr {n}." for n in range(90)
        )
    },
]
TOKENS = 24

TASKS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "local_choice": (
        CHOICES,
        {
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "target_delimiter": "",
            "metric_list": [{"metric": "acc"}],
        },
    ),
    "local_answer": (
        QUESTIONS,
        {
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["<|end|>"], "max_gen_toks": TOKENS, "do_sample": False},
            "metric_list": [{"metric": "exact_match"}],
        },
    ),
    "local_text": (
        TEXTS,
        {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{page}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
        },
    ),
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """The folder for --include_path. Nothing of it is kept between tests, nor taken from the network."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, (rows, task) in TASKS.items():
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        told = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(tmp_path / "datasets")},
            "test_split": "test",
            **task,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    return folder
