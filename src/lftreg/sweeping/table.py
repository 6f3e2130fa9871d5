"""The table of a study's trials: kept beside its winner, and told by the command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.sweeping.study import Row, Study

if TYPE_CHECKING:
    from lftreg.sweeping.confirm import Finalist

TABLE = "sweep.json"


def document(study: Study, rows: Sequence[Row], confirmed: Sequence[Finalist]) -> dict[str, Any]:
    """What a version tells of its study; `table` has a row a trial."""
    return {
        "study": study.name,
        "trials": len(rows),
        **{end: sum(row.end == end for row in rows) for end in ("finished", "stopped", "failed")},
        "space": study.space.as_dict(),
        "confirmed": [one.as_dict() for one in confirmed],
        "table": [row.as_dict() for row in rows],
    }


def written(told: Mapping[str, Any]) -> bytes:
    return (json.dumps(told, indent=1) + "\n").encode()
