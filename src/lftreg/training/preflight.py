"""What has to hold before step 1, and would else only show as a poor adapter, or not at all.

That each row keeps something to learn and ends where it should is proven where rows are made (objectives), that a
target is in every layer where targets are read (models.targets), that nothing but the adapter is trained where it is
attached (models.fresh), that packed rows do not see each other by a trial (objectives.packing).
"""

from __future__ import annotations

from collections.abc import Sequence

from lftreg.errors import LftregError


def check_gradients(unreached: Sequence[str]) -> None:
    """Every trained parameter has a gradient after a first backward pass; these, by their names, have none.

    Experts of a mixture are an exception: those that no token went to have none. Raises LftregError.
    """
    missing = [name for name in unreached if "expert" not in name]
    if missing:
        raise LftregError(
            f"no gradient reaches {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "these parts of the base are not used for this task: leave them out with --targets",
            code="no-gradient",
        )
