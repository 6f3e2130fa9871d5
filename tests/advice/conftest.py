from __future__ import annotations

from pathlib import Path

import pytest

from tests.advice.base import save_learned
from tests.conftest import Once


@pytest.fixture(scope="session")
def learned(once: Once) -> Path:
    """A small base that has learned something, in a folder."""
    return once("learned", save_learned)
