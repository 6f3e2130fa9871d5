"""Data as a base sees it, on a screen or as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftreg.cli.output import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lftreg.data.overlap import Overlap
    from lftreg.objectives.measure import Measured, Piece, Shown
    from lftreg.plugins.types import Example

SHOWN = 300  # characters of a text that are shown
BAR = 24
OPEN, CLOSE = "⟦", "⟧"  # around what is learned, where there are no colours


def tokens_document(measured: Measured) -> dict[str, Any]:
    return {
        "rows": measured.rows,
        "of": measured.of,
        "limit": measured.limit,
        "min": measured.lengths[0],
        "median": measured.at(0.5),
        "p95": measured.at(0.95),
        "max": measured.lengths[-1],
        "histogram": [
            {"from": first, "to": last, "rows": rows} for first, last, rows in measured.histogram()
        ],
        "too_long": measured.too_long,
        "one_token_answers": measured.one_token,
        "answers_one_by_one": measured.rewritten,
    }


def overlap_document(overlap: Overlap) -> dict[str, Any]:
    worst = overlap.worst
    return {
        "rows": overlap.rows,
        "of": overlap.of,
        "share": overlap.share,
        "worst": None
        if worst is None
        else {
            "split": worst.split,
            "shared": worst.shared,
            "train": {"row": worst.train.origin, "text": _told(worst.train)},
            "held_out": {"row": worst.held_out.origin, "text": _told(worst.held_out)},
        },
    }


def shown_document(shown: Shown) -> dict[str, Any]:
    return {
        "split": shown.split,
        "row": shown.origin,
        "tokens": shown.tokens,
        "pieces": [{"text": piece.text, "learned": piece.learned} for piece in shown.pieces],
    }


def tokens_fields(measured: Measured) -> dict[str, str | None]:
    """The fields that tell of tokens."""
    part = "" if measured.rows == measured.of else f", of {measured.rows:,} rows out of {measured.of:,}"
    about = "about " if part else ""
    scale = measured.of / measured.rows
    bars = measured.histogram()
    most = max(rows for _, _, rows in bars)
    wide = len(f"{bars[-1][1]:,}")
    lines = [
        f"{first:{wide},} to {last:{wide},}  {'█' * max(1, round(BAR * rows / most)) if rows else '':{BAR}} {rows:,}"
        for first, last, rows in bars
    ]
    return {
        "tokens": f"{measured.lengths[0]:,} to {measured.lengths[-1]:,}, median {measured.at(0.5):,}, "
        f"95 % up to {measured.at(0.95):,}{part}",
        "lengths": "\n".join(lines) if len(bars) > 1 else None,
        "too long": f"{about}{round(measured.too_long * scale):,} rows have more than {measured.limit:,} tokens and "
        "are left out"
        if measured.too_long
        else None,
        "one token": f"{about}{round(measured.one_token * scale):,} rows have an answer of a single token"
        if measured.one_token
        else None,
        "note": f"the base's chat template rewrites earlier turns: each answer of {measured.rewritten:,} conversations "
        "is learned as a row of its own"
        if measured.rewritten
        else None,
    }


def overlap_field(overlap: Overlap) -> str | None:
    """How much of what is held out stands in train, and the worst of it."""
    worst = overlap.worst
    if worst is None:
        return None
    return (
        f"{overlap.rows:,} of {overlap.of:,} held-out rows ({overlap.share:.0%}) share 13 words in a row with train, "
        f"or are equal\n"
        f"most, {worst.shared:.0%}: {worst.split} {cut(_told(worst.held_out), 80)!r} ({worst.held_out.origin})\n"
        f"and train {cut(_told(worst.train), 80)!r} ({worst.train.origin})"
    )


def print_shown(console: Console, measured: Measured) -> None:
    """Rows as the base sees them, in colours where there are any, with the learned part in brackets elsewhere."""
    from rich.text import Text

    coloured = console.is_terminal and console.color_system is not None and not console.no_color
    how = "in green" if coloured else f"in {OPEN} {CLOSE}"
    for shown in measured.shown:
        head = f"\n{shown.split}, {shown.origin}: {shown.tokens:,} tokens, what is learned {how}"
        console.print(Text(clean(head), "dim"), soft_wrap=True)
        console.print(_coloured(shown) if coloured else Text(_bracketed(shown.pieces)), soft_wrap=True)


def cut(text: str, room: int = SHOWN) -> str:
    return text if len(text) <= room else f"{text[:room]} ..."


def _coloured(shown: Shown) -> Text:
    from rich.text import Text

    text = Text()
    for piece in shown.pieces:
        style = "green" if piece.learned else ""
        text.append(clean(cut(piece.text)), f"dim {style}".strip() if piece.special else style)
    return text


def _bracketed(pieces: tuple[Piece, ...]) -> str:
    text, inside = "", False
    for piece in pieces:
        if piece.learned != inside:
            text += OPEN if piece.learned else CLOSE
            inside = piece.learned
        text += clean(cut(piece.text))
    return text + (CLOSE if inside else "")


def _told(example: Example) -> str:
    return cut(example.text or "\n".join(message.content for message in example.messages if message.content))
