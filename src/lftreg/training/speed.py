"""How fast a run goes right now."""

from __future__ import annotations

from collections import deque

from lftreg.training.events import Stepped

WINDOW = 10.0  # seconds that count


class Speed:
    """Tokens and steps a second over the last seconds of a run, and not since its start."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def add(self, stepped: Stepped) -> None:
        mark = (stepped.seconds, stepped.tokens, stepped.step)
        if not self._marks and stepped.step == 1:
            self._marks.append((0.0, 0, 0))
        self._marks.append(mark)
        while len(self._marks) > 2 and stepped.seconds - self._marks[1][0] > WINDOW:
            self._marks.popleft()

    @property
    def tokens(self) -> float | None:
        """Tokens a second; None where only one moment is known."""
        return self._rate(1)

    @property
    def steps(self) -> float | None:
        """Steps a second; None where only one moment is known."""
        return self._rate(2)

    def _rate(self, what: int) -> float | None:
        if len(self._marks) < 2:
            return None
        first, last = self._marks[0], self._marks[-1]
        return (last[what] - first[what]) / max(last[0] - first[0], 1e-9)
