"""Bundles: hostile ones are refused by name, and what is wrong with a folder is wrong in a bundle too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lftreg.errors import InvalidData, LftregError
from lftreg.models.base import find_base
from lftreg.paths import Home
from lftreg.registry import Registry
from lftreg.remotes.bundle import import_bundle
from tests.hostile.bundles import BUNDLES, Draft, draft_of
from tests.hostile.conftest import Site
from tests.hostile.inputs import CONFIGS, FILES, TENSORS, Hostile, write_good
from tests.hostile.test_inputs import check_harmless, check_touched, files, imported

SAME = {name: one for name, one in (FILES | TENSORS | CONFIGS).items() if one.regular and one.base}


def bundle(site: Site, spoil: Callable[[Draft], object] = lambda draft: None) -> Path:
    with Registry(Home(site.home)) as registry:
        fingerprint = find_base(str(site.base), registry).record.fingerprint
    draft = draft_of(site.folder, fingerprint)
    spoil(draft)
    return draft.write(site.folder.parent / "x.lftreg")


@pytest.mark.slow
@pytest.mark.parametrize(("code", "spoil"), BUNDLES.values(), ids=BUNDLES)
def test_refused_by_its_own_name(
    site: Site, tmp_path: Path, code: str, spoil: Callable[[Draft], object]
) -> None:
    write_good(site.folder, str(site.base))
    place = bundle(site, spoil)
    kept = files(site.home)
    done = imported(site, tmp_path, base=True, what=place)
    assert done["error"], done["err"]
    assert (done["error"]["code"], done["code"]) == (code, 2)
    check_harmless(site, tmp_path, done, kept)


@pytest.mark.parametrize("hostile", SAME.values(), ids=SAME)
def test_a_bundle_of_a_hostile_adapter_is_no_better(site: Site, hostile: Hostile) -> None:
    write_good(site.folder, str(site.base))
    hostile.spoil(site.folder)
    place = bundle(site)
    with Registry(Home(site.home)) as registry, pytest.raises(LftregError) as error:
        import_bundle(registry, place)
    assert isinstance(error.value, InvalidData)
    assert error.value.code == hostile.code


@pytest.mark.slow
def test_a_good_one_touches_nothing_else_either(site: Site, tmp_path: Path) -> None:
    write_good(site.folder, str(site.base))
    place = bundle(site)
    done = imported(site, tmp_path, base=False, what=place)
    assert done["code"] == 0, done["err"]
    check_touched(site, done)
