"""The model card that goes with an adapter: what it is, how to use it, and what was measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lftreg.errors import LftregError
from lftreg.models.tasks import CAUSAL, CLASSIFY, LABELS, SEQ2SEQ, natural_task
from lftreg.registry import WEIGHTS, Registry, Score, Version
from lftreg.registry.score_words import (
    decoding,
    figure,
    headline,
    interval,
    most_telling,
    own,
    remarks,
    trials,
)
from lftreg.tensors import read_header
from lftreg.tensors.vllm import largest_rank, refusals, vllm_rank

CARD = "README.md"
SAMPLES = "samples.json"  # what a run was asked before and after
LICENCE = "license"  # the tag that states one, as the hub's cards spell it
STARTER = "starter"  # the base within the package
ANSWER = 400  # characters of an answer


def write_card(version: Version, registry: Registry, place: str = "ORG/NAME") -> str:
    """The card as Markdown, with the metadata that the Hub reads on top.

    `place` is the repository that it goes to, so that what it says to type can be typed.
    """
    from huggingface_hub import ModelCard

    scores = registry.scores.newest(digest=version.digest)
    parts = [
        f"# {version.name}",
        f"A LoRA adapter of rank {version.rank} (alpha {version.alpha:g}) for the base `{_base_name(version)}`, "
        f"{version.trainable_parameters:,} parameters beside the base's {version.base.parameters:,}. "
        f"Digest `sha256:{version.digest}`.",
        _use(version, registry, place),
        _made(version),
        _training(version),
        *_evaluations(scores),
        _samples(version, registry),
        _licence(version),
    ]
    body = "\n\n".join(part for part in parts if part)
    return str(ModelCard(f"---\n{_metadata(version, most_telling(scores)[0])}\n---\n\n{body}\n"))


def _base_name(version: Version) -> str:
    """A base of the hub by its id, a folder of this machine by its last part."""
    base = version.base.id
    return PurePath(base).name if base.startswith(("/", ".", "~")) or "\\" in base else base


def _metadata(version: Version, scores: Sequence[Score]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=score.suite,
            dataset_name=f"{score.suite} ({score.n} items, sha256 {score.suite_digest[:12]})",
            dataset_args={**score.decoding, "contaminated": len(score.facts.get("contaminated") or ())},
            metric_type=name,
            metric_value=round((headline(one) or one)["value"], 6),
            metric_name=name,
        )
        for score in scores
        for name, one in score.metrics.items()
        if one["measurable"] and one["value"] is not None
    ]
    named: dict[str, Any] = {"model_name": version.name, "eval_results": results} if results else {}
    data = ModelCardData(
        base_model=version.base.id
        if "/" in version.base.id and not version.base.id.startswith("/")
        else None,
        library_name="peft",
        license=version.tags.get(LICENCE),
        tags=["lora", "lftreg", *([version.domain] if version.domain else [])],
        **named,
    )
    return str(data.to_yaml())


def _use(version: Version, registry: Registry, place: str) -> str:
    """How to load it. A base of this machine only has no name that others could load it by."""
    config, header = registry.config(version), read_header(registry.file(version, WEIGHTS))
    base, needs = version.base.id, ""
    given, served = f'"{base}"', base
    if base == STARTER:
        needs, given = (
            "from lftreg.paths import starter_folder  # the base is a part of lftreg\n",
            "starter_folder()",
        )
        served = "\"$(python -c 'from lftreg.paths import starter_folder as f; print(f())')\""
    elif "/" not in base or base.startswith(("/", ".", "~")):
        given, served = '"FOLDER"', "FOLDER"
    loader = _loader(version, config)
    if loader == CLASSIFY.loader and (labels := json.loads(header.metadata.get(LABELS, "null"))):
        given += f", num_labels={len(labels)}"
    told = f"  # {_base_name(version)}" if served == "FOLDER" else ""
    why = refusals(config, header.tensors, version.base.model_type)
    rank = vllm_rank(largest_rank(config))
    if why or rank is None:
        vllm = f"vLLM cannot serve it: {_line('; '.join(why) or 'its rank is too large')}."
    else:
        vllm = f"""With vLLM:

```console
$ vllm serve {served} --enable-lora --max-lora-rank {rank} --lora-modules {version.name}={place}
```"""
    return f"""## Use

With lftreg, from this folder or from where it was pushed to:

```console
$ lftreg import ./this-folder --name {version.name}
$ lftreg pull {place} --name {version.name}
$ lftreg generate {version.name} "..."
```

With PEFT:

```python
{needs}from peft import PeftModel
from transformers import {loader}

base = {loader}.from_pretrained({given}){told}
model = PeftModel.from_pretrained(base, "{place}")
```

{vllm}"""


def _loader(version: Version, config: Mapping[str, Any]) -> str:
    """The class of transformers that loads the base for it."""
    stated = next(
        (task for task in (CLASSIFY, SEQ2SEQ, CAUSAL) if task.peft == config.get("task_type")), None
    )
    return (stated or natural_task({"model_type": version.base.model_type})).loader


def _licence(version: Version) -> str:
    stated = version.tags.get(LICENCE)
    told = f"`{_plain(stated)}`." if stated else "None is stated: ask its author before you build on it."
    return f"## Licence\n\n{told} The licence of the base holds as well."


def _data(version: Version) -> str:
    """What it was trained on, as far as others may know: no path."""
    run = version.run
    if run is None:
        return ""
    source = run.settings.get("source")
    named = source.get("data") if isinstance(source, Mapping) else None
    if isinstance(named, list | tuple) and named:
        what = ", ".join(f"`{_plain(_file_name(str(one)))}`" for one in named)
        return f"Trained on {what} (sha256 of its rows `{run.data_digest[:12]}`)."
    if version.domain is not None:
        return f"Trained on the domain `{version.domain}` (sha256 of its rows `{run.data_digest[:12]}`)."
    return f"The sha256 of its rows is `{run.data_digest[:12]}`."


def _file_name(source: str) -> str:
    """A data set of the hub whole, of a file its name only."""
    return source if source.startswith("hub:") else PurePath(source.replace("\\", "/")).name


def _code(text: str) -> str:
    """Words of somebody's as code, which end neither it nor a cell of a table."""
    return f"`{_plain(text).replace('|', '/')}`"


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _made(version: Version) -> str:
    recipe = version.recipe
    if recipe is None:
        return ""
    rows = [[_code(p.ref), f"{p.weight:g}", f"`{p.digest[:12]}`"] for p in recipe.parents]
    error = (
        ""
        if recipe.relative_error is None
        else f" Relative error to the exact sum: {recipe.relative_error:.1e}."
    )
    return f"## Composition\n\nMethod `{recipe.method}`.{error}\n\n" + _table(
        ["parent", "weight", "digest"], rows
    )


def _training(version: Version) -> str:
    run = version.run
    if run is None:
        return ""
    pairs = [
        ("training loss", "train_first", "train_last"),
        ("validation loss", "validation_before", "validation_after"),
        ("validation accuracy", "accuracy_before", "accuracy_after"),
    ]
    rows = [
        [title, f"{run.losses[before]:.4f}", f"{run.losses[after]:.4f}"]
        for title, before, after in pairs
        if before in run.losses and after in run.losses
    ]
    told = ", ".join(f"{count} {split}" for split, count in run.examples.items())
    said = f"Rows: {told}. Seed {run.seed}, {run.tokens:,} tokens in {run.seconds:.0f} s."
    parent = run.parent
    went_on = "" if parent is None else f" It went on from {_code(parent.ref)} (`{parent.digest[:12]}`)."
    return f"## Training\n\n{_data(version)} {said}{went_on}\n\n" + _table(["", "before", "after"], rows)


def _evaluations(scores: Sequence[Score]) -> list[str]:
    """A section for each score that says enough, the largest first; a line for the trials that do not."""
    large, small = most_telling(scores)
    named = Counter(score.suite for score in large)
    sections = [_evaluation(score, alone=named[score.suite] == 1) for score in large]
    more = trials(len(small))
    return [*sections, f"{more} {'is' if len(small) == 1 else 'are'} left out here." if more else ""]


def _evaluation(score: Score, alone: bool) -> str:
    """The figures of a score; where it is not `alone` with its suite, its title says how it was asked."""
    rows = [
        _row(name, one) for name, one in score.metrics.items() if one["measurable"] and own(one) is not None
    ]
    if not rows:
        return ""
    how = decoding(score.decoding)
    title = score.suite if alone else f"{score.suite} ({score.n} items, {how})"
    told = (
        f"{score.n} items (suite sha256 `{score.suite_digest[:12]}`), {how}. "
        "Differences are paired, item by item."
    )
    facts = dict(score.facts)
    facts["unknown_data"] = [
        one.split(": ")[0] for one in facts.get("unknown_data") or ()
    ]  # reasons name paths
    warnings = "\n".join(f"- {_line(line)}" for line in remarks(score.n, score.metrics, facts))
    table = _table(["metric", "base", "adapter", "difference", "95% interval"], rows)
    return "\n\n".join(part for part in (f"## Evaluation on {title}", told, table, warnings) if part)


def _row(name: str, one: Mapping[str, Any]) -> list[str]:
    found, unit = headline(one), one["unit"]
    if found is None:
        return [name, "", figure(own(one), unit), "", ""]
    return [
        name,
        figure(found["other"], unit),
        figure(found["value"], unit),
        figure(found["delta"], unit, signed=True),
        interval(found["ci95"], unit),
    ]


def _samples(version: Version, registry: Registry) -> str:
    """A few questions, before and after; nothing where they cannot be read."""
    if not any(file.name == SAMPLES for file in version.files):
        return ""
    try:
        rows = json.loads(registry.read(version, SAMPLES))
        told = [
            f"> {_line(row['prompt'])}\n\n- before: {_line(row['before'])}\n- after: {_line(row['after'])}"
            for row in rows
        ]
    except (LftregError, OSError, ValueError, KeyError, TypeError):
        return ""
    return "## Samples\n\n" + "\n\n".join(told) if told else ""


def _line(text: str) -> str:
    """Words as one line that Markdown leaves alone."""
    flat = " ".join(text.split())
    cut = flat if len(flat) <= ANSWER else flat[: ANSWER - 1] + "…"
    for mark in ("\\", "`", "*", "_", "<", ">", "[", "]", "|", "#"):
        cut = cut.replace(mark, f"\\{mark}")
    return cut or "(nothing)"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
