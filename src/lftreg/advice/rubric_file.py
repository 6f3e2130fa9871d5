"""The file of a rubric: its text, the plain values of its YAML, and the line at which each of them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData, NotFound, StorageError

HINT = "`lftreg advise --print-rubric` prints the built-in one, whose comments tell the form"
Lines = Mapping[str, int]  # questions.style.weight -> its line, from 1

# What PyYAML says -> what it means, and whether the place where it began (not where it was noticed) is the one to see.
FLAWS = (
    ("found character '\\t'", "a tab stands where only spaces may", False),
    ("mapping values are not allowed", "a colon stands where no key can: indent, or quote it", False),
    ("could not find expected ':'", "a key has no colon behind it", True),
    ("expected ',' or", "a bracket is opened here, and a comma or its end is missing", True),
    ("unexpected end of stream", "a quote is opened here and never closed", True),
    ("expected <block end>", "it is not indented as the lines before it are", False),
    ("expected the node content", "a value is missing", False),
    ("could not determine a constructor", "it has a tag (!), and only plain values are taken", False),
    ("found undefined alias", "it names an anchor (*) that is nowhere", False),
    ("but found another document", "a second document (---) begins", False),
    ("found unhashable key", "a key must be a word or a number", False),
    ("that cannot start any token", "no value begins with this character: put the text in quotes", False),
    ("is there twice", "", False),
    ("is no value", "", False),
)  # fmt: skip


def rubric_text(path: Path | None = None) -> str:
    """The YAML of a file, or of the built-in rubric.

    Raises NotFound for a file that is not there, InvalidData (`invalid-rubric`) for what holds no text.
    """
    name = "rubric.yaml" if path is None else str(path)
    try:
        where = files("lftreg.advice") / "rubric.yaml" if path is None else path
        return where.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"no rubric at {name}", "leave --rubric out for the built-in one") from error
    except IsADirectoryError as error:
        raise InvalidData(
            f"{name} is a folder", "give the YAML file of a rubric", code="invalid-rubric"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise refused(name, line, "it is not text in UTF-8") from error
    except OSError as error:
        raise StorageError(f"{name} cannot be read: {error.strerror}", "check its permissions") from error


def refused(name: str, line: int | None, what: str) -> InvalidData:
    """The error of a file, with the line where it is known."""
    where = name if line is None else f"{name}, line {line}"
    return InvalidData(f"{where}: {what}", HINT, code="invalid-rubric")


def parse(text: str, name: str) -> tuple[Any, Lines]:
    """The values of a YAML text, and their lines. Raises InvalidData (`invalid-rubric`) where it is none."""
    import yaml

    loader = _loader(yaml)
    try:
        reading = loader(text)
        node = reading.get_single_node()
        if node is None:
            raise refused(name, None, "it holds nothing")
        return reading.construct_document(node), dict(_lines(node, "", set()))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise refused(name, line, "it holds a character that no text has") from error
    except yaml.MarkedYAMLError as error:
        raise refused(name, *_told(error)) from error
    except RecursionError as error:
        raise refused(name, None, "it is nested too deeply") from error


def _loader(yaml: Any) -> Any:
    """A SafeLoader, which makes plain values only. YAML takes the last of two equal keys; here they are refused."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is imported when a rubric is read
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if isinstance(node, yaml.MappingNode):
                seen: list[Any] = []
                for key_node, _ in node.value:
                    key = self.construct_object(key_node, deep=True)
                    if key in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"{key!r} is there twice", key_node.start_mark
                        )
                    seen.append(key)
            return super().construct_mapping(node, deep)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except ValueError as error:  # a date of month 13, or a number of five thousand figures
                shown = node.value if len(node.value) <= 40 else f"{node.value[:40]}..."
                raise yaml.constructor.ConstructorError(
                    None, None, f"{shown!r} is no value", node.start_mark
                ) from error

    return Loader


def _told(error: Any) -> tuple[int | None, str]:
    """The line and the sentence of what PyYAML says."""
    problem = str(error.problem or "")
    meaning, began = next(
        ((words, early) for part, words, early in FLAWS if part in problem),
        ("its form is broken here", False),
    )
    mark = error.context_mark if began and error.context_mark is not None else error.problem_mark
    return None if mark is None else mark.line + 1, f"is not YAML: {meaning}" if meaning else problem


def _lines(node: Any, place: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """The lines of keys, by their places; an anchor that holds itself is gone through once."""
    if id(node) in seen or node.id != "mapping":
        return
    seen.add(id(node))
    for key, value in node.value:
        inner = f"{place}.{key.value}" if place else str(key.value)
        yield inner, key.start_mark.line + 1
        yield from _lines(value, inner, seen)
