from pathlib import Path


def write_card(corpus: Path, report: dict, file: Path) -> None:
    file.write_text("# Starter base (provisional)\n")
