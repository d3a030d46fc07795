"""Settings that can't be used are refused, in words that name the setting or the file."""

from pathlib import Path

import pytest

from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings import load


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "COMMAND", "DATABASE_URL", "REPOSITORY_ALLOW_LIST"):
        monkeypatch.delenv(f"ASU_STATS_{name}", raising=False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "the name of a file"),
        ("sqlite:///:memory:", "the name of a file"),
        ("sqlite:///file:x.db?mode=ro&uri=true", "the name of a file"),
        ("sqlite+foo:///x.db", "sqlite\\+foo is not supported"),
        ("postgresql+asyncpg://h/x", "postgresql\\+asyncpg is not supported"),
        ("oracle://x", "use sqlite or postgresql"),
        ("nonsense", "not a database URL"),
    ],
)
def test_databases_that_are_none_of_ours(url: str, words: str) -> None:
    with pytest.raises(InvalidSettingError, match=f"^settings: database_url: .*{words}"):
        load(database_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///x.db",
        "sqlite+pysqlite:////srv/x.db",
        "postgresql://u:p@h:5432/x",
        "postgresql+psycopg:///x?host=/run/postgresql",
    ],
)
def test_databases_that_are(url: str) -> None:
    assert load(database_url=url).database_url == url


def test_the_file_that_nobody_named_may_be_absent(tmp_path: Path) -> None:
    assert load().workers == 1
    (tmp_path / "asu-stats.toml").write_text('workers = 7\ncommand = ["make image"]\n')
    assert (load().workers, load().command) == (7, ["make image"])


@pytest.mark.parametrize(
    ("name", "words"), [("absent.toml", "No such file"), ("folder", "Is a directory")]
)
def test_a_file_that_is_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("ASU_STATS_CONFIG", name)
    with pytest.raises(InvalidSettingError, match=f"^settings: {name}: {words}"):
        load()


@pytest.mark.parametrize("content", [b"workers = \n", b"# \xff\n"])
def test_mistakes_in_the_file_name_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "asu-stats.toml").write_bytes(content)
    with pytest.raises(InvalidSettingError, match=r"^settings: asu-stats\.toml: "):
        load()


@pytest.mark.parametrize("name", ["COMMAND", "REPOSITORY_ALLOW_LIST"])
def test_lists_are_json_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"ASU_STATS_{name}", '["one", "two"]')
    assert getattr(load(), name.lower()) == ["one", "two"]
    for value in ("make", '{"a": 1}', "7"):
        monkeypatch.setenv(f"ASU_STATS_{name}", value)
        with pytest.raises(InvalidSettingError, match=f"{name.lower()}: expected a JSON list"):
            load()
