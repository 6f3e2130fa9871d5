"""Training data from outside."""

from __future__ import annotations

from lftreg.data.files import Data, Source, domain_from_files, name_of, read_data
from lftreg.data.splits import remembered_split

__all__ = ["Data", "Source", "domain_from_files", "name_of", "read_data", "remembered_split"]
