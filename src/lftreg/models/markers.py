"""Prompts with headings, as tutorials write them: `### Question: ...` and then `### Answer:`."""

from __future__ import annotations

import re

_MARKED = re.compile(
    r"\s*###\s*(?:Question|Instruction)\s*:\s*(?P<asked>.*?)"
    r"(?:\s*###\s*(?:Input|Context)\s*:\s*(?P<context>.*?))?"
    r"\s*###\s*(?:Answer|Response|Code|Output)\s*:\s*",
    re.DOTALL | re.IGNORECASE,
)


def unmarked(prompt: str) -> str:
    """The question that stands under such headings; any other prompt as it is.

    The base's own chat template says where an answer begins, so the headings would only be noise.
    """
    found = _MARKED.fullmatch(prompt)
    if found is None:
        return prompt
    return "\n\n".join(part.strip() for part in (found["asked"], found["context"]) if part and part.strip())
