"""Datasets of the hub: their files of rows, fetched into the hub's own cache. None of their code is run."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from lftreg.data.formats import READERS
from lftreg.errors import InvalidData, LftregError, NotFound, TokenNeeded, Unavailable

LARGEST = 4 * 2**30  # bytes of all files together: all rows are read into memory


def fetch_dataset(repo: str, revision: str | None) -> Path:
    """The folder with a dataset's files of rows, in the version that the hub has, or else the cache.

    Raises NotFound, TokenNeeded, InvalidData where it has no file of rows or far too many, and Unavailable
    where it is neither cached nor to be had.
    """
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # Its bars and its advice would break into what commands print.
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        _check_files(repo, revision)
        patterns = [f"*{suffix}" for suffix in READERS]
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except hub.GatedRepoError as error:
        raise TokenNeeded(
            f"dataset {repo!r} is gated", "accept its terms on the hub, then `hf auth login`"
        ) from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError) as error:
        what = f"dataset {repo!r}" + (f" at {revision!r}" if revision else "")
        raise NotFound(
            f"the hub has no {what}",
            "check its name; one that is private needs `hf auth login`",
            code="unknown-dataset",
        ) from error
    except LftregError:
        raise
    except Exception as error:  # without a network the client lets through what its own client raises
        raise Unavailable(
            f"dataset {repo!r} is not in the local cache as a whole, and the hub cannot be reached",
            "go online once, or give a file or a folder",
            code="offline",
        ) from error
    finally:
        logger.setLevel(level)
        if shown:
            enable_progress_bars()


def _check_files(repo: str, revision: str | None) -> None:
    """Refuse before anything is downloaded. Where the hub cannot be asked, the cache decides."""
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    files: list[Any] = []
    api = HfApi()
    try:
        # Asked once. A list is asked for again and again, which without a network takes half a minute.
        commit = api.repo_info(repo, repo_type="dataset", revision=revision).sha
        files = [
            file
            for file in api.list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True)
            if hasattr(file, "size")
        ]
    except (hub.GatedRepoError, hub.RepositoryNotFoundError, hub.RevisionNotFoundError):
        raise
    except Exception:  # noqa: BLE001 see above
        return
    rows = [file for file in files if Path(file.path).suffix.lower() in READERS]
    if not rows:
        suffixes = sorted({Path(file.path).suffix for file in files} - {""})
        raise InvalidData(
            f"dataset {repo!r} has no file of rows that is known here, only {', '.join(suffixes) or 'nothing'}",
            f"known are {', '.join(READERS)}",
            code="no-rows",
        )
    with contextlib.suppress(TypeError):  # a file of unknown size
        size = sum(file.size for file in rows)
        if size > LARGEST:
            raise InvalidData(
                f"dataset {repo!r} has {size / 2**30:.0f} GiB of rows, and all are read into memory",
                f"download a part: hf download {repo} --repo-type dataset --include 'data/train-00000*' "
                "--local-dir part, then --data ./part",
                code="too-large",
            )
