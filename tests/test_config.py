from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lftreg.config import load_settings, project_file, read_file, user_file, without_password, write_setting
from lftreg.errors import InvalidData, UsageError


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a user who has none of the tester's settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    return user_file()


def test_each_place_wins_over_the_next(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LFTREG_HOME")
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True)
    places = []

    def origin() -> str:
        settings = load_settings(flags={"home": "/flag"} if "flag" in places else {}, start=project)
        return settings.origins["home"]

    assert origin() == "default"
    write_setting(user, "home", "/mine")
    assert origin() == str(user)
    write_setting(tmp_path / "project" / "lftreg.toml", "home", "/projects")
    assert origin() == str(tmp_path / "project" / "lftreg.toml")
    monkeypatch.setenv("LFTREG_HOME", "/environment")
    assert origin() == "LFTREG_HOME"
    places.append("flag")
    assert origin() == "flag"


def test_values_of_every_kind(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFTREG_PLUGINS_OFF", "legal, medical,")
    write_setting(user, "base", "org/model")
    settings = load_settings(start=tmp_path)
    assert settings.plugins_off == ("legal", "medical")
    assert settings.base == "org/model"
    assert settings.database_url is None


def test_a_home_in_a_file_is_beside_that_file(tmp_path: Path) -> None:
    path = tmp_path / "lftreg.toml"
    path.write_text('home = ".lftreg"\n', encoding="utf-8")
    assert read_file(path) == {"home": str(tmp_path / ".lftreg")}


def test_the_nearest_project_file_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "lftreg.toml").touch()
    assert project_file(inner) == tmp_path / "lftreg.toml"
    (tmp_path / "a" / "lftreg.toml").touch()
    assert project_file(inner) == tmp_path / "a" / "lftreg.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("home = \n", "is not TOML"),
        ("home = 3\n", "home in .* is 3"),
        ("plugins_off = 'legal'\n", "plugins_off in .* is 'legal'"),
        ("plugins_off = [1]\n", r"plugins_off in .* is \[1\]"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "lftreg.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidData, match=said):
        load_settings(start=tmp_path)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "lftreg.toml").write_text("bas = 'x'\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"unknown setting 'bas' in .*Did you mean 'base'"):
        load_settings(start=tmp_path)


def test_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LFTREG_DATABASE_URL", "postgresql+psycopg://desk:s3cr:et@db.local:5432/lftreg")
    settings = load_settings(start=tmp_path)
    assert settings.shown()["database_url"] == "postgresql+psycopg://desk:***@db.local:5432/lftreg"
    assert settings.database_url is not None
    assert "s3cr:et" in settings.database_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:p@ss@db/x", "postgresql://ann:***@db/x"),
        ("postgresql://ann:p/s:s@db/x?sslmode=require", "postgresql://ann:***@db/x?sslmode=require"),
        ("postgresql://db/x?user=ann&password=s3cret&a=b", "postgresql://db/x?user=ann&password=***&a=b"),
        ("postgresql://ann@db/x", "postgresql://ann@db/x"),
        ("sqlite:////srv/a@b:c/registry.db", "sqlite:////srv/a@b:c/registry.db"),
    ],
)
def test_a_password_is_left_out_wherever_it_stands(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_the_files_may_lie_elsewhere_than_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings(start=tmp_path).home.shared is None
    (tmp_path / "lftreg.toml").write_text("blobs = 'files'\n", encoding="utf-8")
    settings = load_settings(start=tmp_path)
    assert settings.home.blobs == tmp_path / "files"
    assert settings.home.scratch.parent == settings.home.blobs  # one file system, so that a rename publishes
    assert settings.shown()["blobs"] == str(tmp_path / "files")
    monkeypatch.setenv("LFTREG_BLOBS", str(tmp_path / "others"))
    assert load_settings(start=tmp_path).home.blobs == tmp_path / "others"


def test_writing_keeps_comments_and_other_keys(user: Path) -> None:
    user.parent.mkdir(parents=True)
    user.write_text("# mine\nbase = 'old'  # the small one\nplugins_off = ['a']\n", encoding="utf-8")
    write_setting(user, "base", 'quo"ted \\ text')
    assert user.read_text(encoding="utf-8").startswith("# mine\n")
    assert tomllib.loads(user.read_text(encoding="utf-8")) == {
        "base": 'quo"ted \\ text',
        "plugins_off": ["a"],
    }
    write_setting(user, "base", None)
    assert read_file(user) == {"plugins_off": ["a"]}
    assert list(user.parent.iterdir()) == [user]


def test_a_file_that_cannot_be_edited_by_lines_is_left_alone(user: Path) -> None:
    user.parent.mkdir(parents=True)
    text = "plugins_off = [\n  'a',\n]\n"
    user.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidData, match="cannot be changed safely"):
        write_setting(user, "plugins_off", "b")
    assert user.read_text(encoding="utf-8") == text
    write_setting(user, "base", "x")  # another key of the same file can
    assert read_file(user) == {"base": "x", "plugins_off": ["a"]}


def test_a_price_is_a_number_of_dollars(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(start=tmp_path).price_per_hour is None
    write_setting(user, "price_per_hour", "2.49")
    settings = load_settings(start=tmp_path)
    assert settings.price_per_hour == settings.shown()["price_per_hour"] == 2.49
    monkeypatch.setenv("LFTREG_PRICE_PER_HOUR", "0")
    assert load_settings(start=tmp_path).price_per_hour == 0
    for text in ("cheap", "-1", "nan", "inf"):
        monkeypatch.setenv("LFTREG_PRICE_PER_HOUR", text)
        with pytest.raises(InvalidData, match="LFTREG_PRICE_PER_HOUR"):
            load_settings(start=tmp_path)
