"""Chat templates and tokenizers that hide where an answer ends, or where it begins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import kinds
from tests.faults.data import CHAT
from tests.faults.kinds import Case, Caught, Make, Setup, talks, train_on

NO_END = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ 'Answer: ' }}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer: ' }}{% endif %}"
)
NO_MARKS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# The end of a turn is written, and lies outside of what is marked as the answer.
END_OUTSIDE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# As the templates of models that think: of all answers but the last, what comes before a mark is dropped.
REWRITES = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ (m['content'] if loop.last else m['content'].split(' by ')[1]) + '<|end|>' }}"
    "{% endgeneration %}{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# Knows the assistant by another name, so that answers vanish.
DEAF = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'model' %}"
    "{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}"
    "{% elif m['role'] == 'user' %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def copied(folder: Path, base: Path) -> Path:
    return Path(shutil.copytree(base, folder / "base"))


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A file of JSON with something changed in it."""
    found = json.loads(path.read_text(encoding="utf-8"))
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")


def talking(
    change: Callable[[Path], Any] = lambda base: None,
    *,
    kind: str = "llama",
    rows: list[dict[str, Any]] | None = None,
    more: tuple[str, ...] = (),
) -> Callable[[Path, Make], Setup]:
    """A copy of a tiny base that was changed, and conversations."""

    def build(folder: Path, make: Make) -> Setup:
        base = copied(folder, make(kind))
        change(base)
        said = rows or talks()
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in said))
        texts = tuple(m["content"] for row in said for m in row["messages"] if m["role"] == "assistant")
        return Setup(train_on(path, base, *more), base, path, texts=texts)

    return build


def template(text: str) -> Callable[[Path], Any]:
    return lambda base: (base / "chat_template.jinja").write_text(text)


def tokens(**names: str | None) -> Callable[[Path], None]:
    def change(base: Path) -> None:
        def write(config: dict[str, Any]) -> None:
            config.update(names)
            for name in [name for name, token in names.items() if token is None]:
                del config[name]

        edited(base / "tokenizer_config.json", write)

    return change


def _without_eos(base: Path) -> None:
    tokens(eos_token=None)(base)
    for name in ("config.json", "generation_config.json"):
        if (base / name).exists():
            edited(base / name, lambda found: found.pop("eos_token_id", None))


def _with_bos_of_its_own(base: Path) -> None:
    """Its tokenizer puts the first token before every text, and its template writes it too."""
    from tokenizers import Tokenizer, processors

    words = Tokenizer.from_file(str(base / "tokenizer.json"))
    bos = [("<|bos|>", words.token_to_id("<|bos|>"))]
    words.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=bos)
    words.save(str(base / "tokenizer.json"))


def one_bos(seen: kinds.Seen, setup: Setup) -> str | None:
    twice = sum(ids[:2] == ids[1:2] * 2 for ids, _ in seen.rows)
    return f"{twice} rows begin twice" if twice else kinds.answers_only(seen, setup)


CASES = (
    Case(
        "as it should be", "conversations, a good template: nothing to be found",
        talking(), holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "end of turn never written", "EOS is never appended, so answers go on for ever",
        talking(template(NO_END)), clear=r"learn to stop|trained to stop", holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "end of turn not learned", "EOS is written, and masked",
        talking(template(END_OUTSIDE)), clear=r"learn to stop|trained to stop", holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "pad is eos", "pad equals eos, and is masked with it",
        talking(tokens(pad_token="<|end|>")), holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "no pad token", "a tokenizer that has no padding",
        talking(tokens(pad_token=None)), holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "no generation mark", "templates without a generation mark give masks of zeros",
        talking(template(NO_MARKS)), clear=r"generation", holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "answers that vanish", "all labels are masked",
        talking(template(DEAF)),
        Caught("template-drops", r"chat template leaves out the assistant turn"),
        clear=r"no assistant tokens|template", holds=kinds.stops, trl=CHAT,
    ),
    Case(
        "template that rewrites", "earlier turns are not learned as they stand in the file",
        talking(template(REWRITES), rows=talks(turns=2)),
        Caught("template-drops", r"chat template leaves out the assistant turn"),
        clear=r"rewrites|leaves out|prefix", holds=kinds.all_answers, trl=CHAT,
    ),
    Case(
        "template that is no template", "a template with a mistake in it",
        talking(template("{% for m in messages %}")),
        Caught("template-refuses", r"row \d+: .* refuses the conversation: Unexpected end of template"),
        clear=r"template", holds=kinds.finished, trl=CHAT,
    ),
    Case(
        "template that wants other turns", "a template that refuses a row",
        talking(template("{% if messages|length > 2 %}{{ raise_exception('one question only') }}{% endif %}"
                         + NO_MARKS), rows=[*talks(6), *talks(1, turns=2), *talks(12)[7:]]),
        Caught("template-refuses", r"row \d+: .* refuses the conversation: one question only"),
        clear=r"one question only", holds=kinds.finished, trl={},
    ),
    Case(
        "several turns", "only the last answer is learned",
        talking(rows=talks(turns=3)), holds=kinds.all_answers, trl=CHAT,
    ),
    Case(
        "no chat template", "a base that was never taught to chat",
        talking(kind="gpt2"), clear=r"chat.template", holds=kinds.answers_only, trl=CHAT,
    ),
    Case(
        "no eos token", "a tokenizer without an end",
        talking(_without_eos), Caught("no-eos", r"tokenizer has no end-of-sequence token"),
        clear=r"eos|end.of.sequence", holds=kinds.stops, trl=CHAT,
    ),
    Case(
        "two beginnings", "the first token stands there twice",
        talking(_with_bos_of_its_own), holds=one_bos, trl=CHAT,
    ),
)  # fmt: skip
