"""A base's tokenizer without transformers, which would load torch: enough to see what a base makes of data.

The words are those of `tokenizer.json`; chat templates run in jinja's sandbox as transformers runs them. Whoever
trains or generates takes transformers' own tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData

if TYPE_CHECKING:
    import jinja2
    from tokenizers import Tokenizer

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def light_tokenizer(folder: Path) -> LightTokenizer | None:
    """The tokenizer in a base's folder; None where there is no `tokenizer.json` to read it from."""
    if not (folder / "tokenizer.json").is_file():
        return None
    try:
        return LightTokenizer(folder)
    except Exception as error:  # tokenizers raises Exception itself
        raise InvalidData(
            f"{folder / 'tokenizer.json'} cannot be read: {error}",
            "AutoTokenizer(...).save_pretrained(FOLDER) writes one",
            code="no-tokenizer",
        ) from error


class LightTokenizer:
    """What `Chat` and the objectives ask of a tokenizer, under the names that transformers gives it."""

    is_fast = True

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._words: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._words.no_truncation()
        self._words.no_padding()
        config = _read(folder / "tokenizer_config.json")
        told = {**_read(folder / "special_tokens_map.json"), **config}
        self.special_tokens_map = {name: _content(told[name]) for name in SPECIAL if told.get(name)}
        self.chat_template = _template(folder, config)
        self._compiled: dict[str, jinja2.Template] = {}

    def __getattr__(self, name: str) -> Any:
        """`eos_token`, `eos_token_id` and their like; None for what the tokenizer does not have."""
        if name.removesuffix("_id") not in SPECIAL:
            raise AttributeError(name)
        token = self.special_tokens_map.get(name.removesuffix("_id"))
        return self._words.token_to_id(token) if token and name.endswith("_id") else token

    def __len__(self) -> int:
        return self._words.get_vocab_size()

    @cached_property
    def all_special_ids(self) -> list[int]:
        return [id_ for id_, token in self._words.get_added_tokens_decoder().items() if token.special]

    def __call__(
        self,
        text: str | None = None,
        *,
        text_target: str | None = None,
        add_special_tokens: bool = True,
        return_overflowing_tokens: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        """Ids of a text, never cut: with `return_overflowing_tokens` they are the one piece of a list."""
        given = text_target if text is None else text
        (found,) = self._words.encode_batch_fast([given or ""], add_special_tokens=add_special_tokens)
        return {"input_ids": [found.ids] if return_overflowing_tokens else found.ids}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return self._words.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def apply_chat_template(
        self,
        messages: list[dict[str, Any]],
        *,
        tools: list[Any] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        tokenize: bool = False,
    ) -> str:
        known = self.chat_template
        if isinstance(known, dict):
            known = known.get("tool_use" if tools and "tool_use" in known else "default", "")
        source = chat_template or known
        if source not in self._compiled:
            self._compiled[source] = _environment().from_string(source)
        return self._compiled[source].render(
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self.special_tokens_map,
        )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    held = json.loads(path.read_text(encoding="utf-8"))
    return held if isinstance(held, dict) else {}


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _template(folder: Path, config: dict[str, Any]) -> Any:
    """One template as a text, several by their names."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    told = config.get("chat_template")
    return {one["name"]: one["template"] for one in told} if isinstance(told, list) else told


def _environment() -> jinja2.Environment:
    """What chat templates are written for: loop controls, `generation` blocks, tojson, raise_exception, the date."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %}` marks answers for others; here it is passed through."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return body

    class Plain(Namespace):
        """A namespace whose names cannot reach Python's own."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise TemplateError(f"{name} may not be set")
            super().__setitem__(name, value)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def namespace(**given: Any) -> Plain:
        made = Plain()
        for name, value in given.items():
            made[name] = value
        return made

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    asked: dict[str, Callable[..., Any]] = {
        "raise_exception": raise_exception,
        "strftime_now": lambda format: datetime.now().strftime(format),
        "dict": lambda *given, **named: dict(*given, **named),
        "namespace": namespace,
    }
    made.globals.update(asked)
    made.filters["tojson"] = _json
    return made


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
