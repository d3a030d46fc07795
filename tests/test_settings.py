"""Invalid settings: messages that name the setting or the file."""

import json
import os
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings import Settings, load


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ASU_STATS_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "the name of a file"),
        ("sqlite:///:memory:", "the name of a file"),
        ("sqlite:///file:x.db?mode=ro&uri=true", "the name of a file"),
        ("sqlite+foo:///x.db", "sqlite\\+foo is not supported"),
        ("postgresql+asyncpg://h/x", "postgresql\\+asyncpg is not supported"),
        ("oracle://x", "use sqlite or postgresql"),
        ("nonsense", "expected a database URL such as sqlite:///"),
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


# Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ASU_STATS_READ_ACESS", "ASU_STATS_READ_ACCESS"),
        ("asu_stats_read_acess", "ASU_STATS_READ_ACCESS"),
        ("ASU_STATS_DATABASE", "ASU_STATS_DATABASE_URL"),
        ("ASU_STATS_RETENTION_SHEDULE", "ASU_STATS_RETENTION_SCHEDULE"),
        ("ASU_STATS_CONFIGG", "ASU_STATS_CONFIG"),
        ("ASU_STAT_READ_ACCESS", "ASU_STATS_READ_ACCESS"),
        ("ASUSTATS_READ_ACCESS", "ASU_STATS_READ_ACCESS"),
        ("ASU_STATS_SOMETHING_ELSE_ALTOGETHER", None),
    ],
)
def test_a_misspelt_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, "token")
    end = re.escape(f"; did you mean {meant}?") if meant else ""
    with pytest.raises(InvalidSettingError, match=f"^settings: {name}: no such setting{end}$"):
        load()


def test_variables_of_other_programs_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASU_BRANCH", "ASUS_STATUS", "READ_ACESS", "DATABASE_URL", "WORKERS"):
        monkeypatch.setenv(name, "x")
    assert load().read_access == "public"


def test_a_variable_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASU_STATS_WORKERS", "2")
    monkeypatch.setenv("asu_stats_workers", "3")
    with pytest.raises(InvalidSettingError, match="ASU_STATS_WORKERS: given twice"):
        load()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('read_acess = "token"', "read_acess: no such setting; did you mean read_access?"),
        ('ASU_STATS_READ_ACCESS = "token"', "no such setting; did you mean read_access?"),
        ("[server]\nworkers = 2", "server: no such setting"),
        (
            '[[alerts]]\nname = "queue_long"\nabov = 5',
            "alerts.4.abov: no such setting; did you mean above?",
        ),
        (
            '[[alerts]]\nname = "queue_lon"\nabove = 5',
            "alerts.14.watch: is missing (in queue_lon); did you mean queue_long?",
        ),
        (
            '[[webhooks]]\nurls = "https://example.org"',
            "webhooks.0.urls: no such setting; did you mean url?",
        ),
    ],
)
def test_a_misspelt_name_in_the_file_is_refused(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "asu-stats.toml").write_text(line)
    with pytest.raises(InvalidSettingError, match=re.escape(words)) as caught:
        load()
    assert "asu-stats.toml" in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASU_STATS_WORKES", "2")
    monkeypatch.setenv("ASU_STATS_WORKERS", "0")
    (tmp_path / "asu-stats.toml").write_text('jobs = "perhaps"\n')
    with pytest.raises(InvalidSettingError) as caught:
        load()
    assert str(caught.value) == (
        "settings: ASU_STATS_WORKES: no such setting; did you mean ASU_STATS_WORKERS?; "
        "jobs: expected true or false (asu-stats.toml); "
        "workers: expected a whole number from 1 to 256, not '0' (ASU_STATS_WORKERS)"
    )


def test_a_file_of_settings_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "asu-stats.toml").symlink_to("gone.toml")
    with pytest.raises(InvalidSettingError, match=r"^settings: asu-stats\.toml: No such file"):
        load()


# Values -----------------------------------------------------------------------------------------

SECRET = "whsec_" + "A" * 32
WRONG: list[tuple[str, Any, str]] = [
    ("workers", True, "a whole number"),
    ("workers", "1e1", "a whole number from 1 to 256"),
    ("workers", 2.5, "a whole number"),
    ("workers", 257, "from 1 to 256"),
    ("jobs", "perhaps", "true or false"),
    ("read_access", "private", "public or token"),
    ("archive", "parquet.gz", "tables, parquet or csv.gz"),
    ("builder", "Command", "demo, command or none"),
    ("demo_seconds", "inf", "a number above 0"),
    ("demo_seconds", "nan", "a number above 0"),
    ("legacy_sunset", "20271001", "YYYY-MM-DD"),
    ("legacy_sunset", 1822348800, "YYYY-MM-DD"),
    ("legacy_sunset", "2027-02-30", "expected a day, YYYY-MM-DD"),
    ("oldest_event", "2026-13-01", "expected a day, YYYY-MM-DD"),
    ("oldest_event", "2999-01-01", "expected a day not after today, "),
    ("oldest_event", "1969-12-31", "a day of at least 1970-01-01"),
    ("legacy_deprecated_since", "0001-01-01", "a day of at least 1970-01-01"),
    ("legacy_sunset", "2026-09-30", "not before legacy_deprecated_since"),
    ("stale_after_hours", 1e-9, "a number from 0.1 to 168"),
    ("build_ttl_seconds", 0, "a whole number from 60"),
    ("build_ttl_unversioned_seconds", 1, "a whole number from 60"),
    ("build_defaults_ttl_seconds", 59, "a whole number from 60"),
    ("read_access", True, "public or token, not"),
    ("legacy_deprecated_since", True, "YYYY-MM-DD"),
    ("build_metrics_days", 10**12, "a whole number from 1 to 36500"),
    ("archive_directory", "", "is empty"),
    ("archive_directory", "~/archive", "a path without ~"),
    ("spool_directory", " ", "is empty"),
    ("database_url", "", "is empty"),
    ("database_url", "sqlite:///~/x.db", "a path without ~"),
    ("database_url", "postgresql://h:port/x", "expected a database URL"),
    ("database_url", "postgresql://h:99999/x", "a port from 1 to 65535"),
    ("ingest_token", "", "is empty"),
    ("ingest_token", "two words", "without white space"),
    ("ingest_token", "schlüssel", "ASCII"),
    ("source", "sysupgrade.example.org", "a URL such as"),
    ("source", "https:/example.org", "a URL such as"),
    ("source", "https://user:secret@example.org", "without user and password"),
    ("upstream_url", "https://user@example.org", "without user and password"),
    ("metadata_url", "https://example.org/?a=b", "without ? and #"),
    ("metadata_url", "ftp://example.org", "a URL such as"),
    ("repository_allow_list", ["https://u:secret@example.org/"], "without user and password"),
    ("root_path", "stats", "a path such as /stats"),
    ("root_path", "/stats/", "a path such as /stats"),
    ("public_url", "stats.example.org", "a URL such as"),
    ("public_url", "https://u:secret@example.org", "without user and password"),
    ("public_url", "https://example.org/?days=7", "without ? and #"),
    ("public_url", "https://example.org/stats", "no path without root_path"),
    ("rate_limit_storage", "redis://", "redis://localhost:6379/0"),
    ("rate_limit_storage", "localhost:6379", "redis://localhost:6379/0"),
    ("rate_limit_storage", "redis://h:port", "redis://localhost:6379/0"),
    ("live_origins", ["example.org"], "expected an origin"),
    ("live_origins", ["https://example.org/page"], "expected an origin"),
    ("live_origins", ["*"], "expected an origin"),
    ("live_origins", ["https://*.example.org"], "expected an origin"),
    ("embed_origins", ["https://user:secret@example.org"], "expected an origin"),
    ("embed_origins", ["https://example.org; script-src *"], "expected an origin"),
    ("metrics_clients", ["owut/1"], "expected the name of a client"),
    ("metrics_clients", ["luci", "luci"], "number 2 is a duplicate"),
    ("metrics_clients", [7], "text"),
    ("notify", ["json://example.org", "json://example.org"], "number 2 is a duplicate"),
    ("legacy_gone", True, "legacy_sunset"),
    ("webhooks", [{"url": "http:///hook", "secret": SECRET}], "a URL such as"),
    (
        "webhooks",
        [{"url": "https://a%3Ab:c@example.org", "secret": SECRET}],
        "cannot contain a colon",
    ),
    ("webhooks", "https://example.org", "a JSON list of objects"),
    ("webhooks", ["https://example.org"], "an object"),
    ("alerts", [{"name": "queue_long", "above": float("nan")}], "expected a number"),
    ("alerts", [{"name": "queue_long", "above": "5"}], "expected a number"),
    ("alerts", [{"name": "queue_long", "hours": True}], "a whole number from 1 to 168"),
    ("alerts", [{"name": "queue_long", "for_minutes": 1e300}], "from 0 to 10080"),
    ("alerts", [{"name": "queue_long", "above": 9}, {"name": "queue_long"}], "two rules"),
    ("alerts", [{"name": "success_rate_low", "below": 0.85}], "percent, such as 85"),
    ("alerts", [{"name": "client_failures", "above": 100}], "below 100"),
    ("alerts", [{"name": "success_rate_low", "below": 0}], "above 0"),
    ("alerts", [{"name": "success_rate_low", "recover": 101}], "recover: expected from 0 to 100"),
    ("alerts", [{"name": "client_failures", "recover": 0.45}], "recover: expected percent"),
    ("alerts", [{"name": "queue_long", "recover": -1}], "recover: expected from 0 to"),
    ("alerts", [{"name": "queue_long", "above": 1e300}], "below 1,000,000,000 (builds)"),
    ("alerts", [{"name": "success_rate_falling", "below": -100}], "above -100"),
    ("alerts", [{"name": "failures_now", "above": 100}], "below 100 (points)"),
    ("alerts", [{"name": "durations_rising", "below": -100}], "above -100"),
    ("alerts", [{"name": "queue_long", "summary": "a\r\nTo: b"}], "one line"),
    ("alerts", [{"name": "queue_long", "severity": "fatal"}], "warning or critical"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_what_cannot_be_understood_as_meant_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(InvalidSettingError, match=rf"^settings: {name}[.:]") as caught:
        load(**{name: value})
    assert words in str(caught.value)
    for word in ("secret@", "Input should", "None", "True", "type=", "pydantic"):
        assert word not in str(caught.value)


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_the_same_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, words: str
) -> None:
    if isinstance(value, bool) and name == "legacy_gone":
        value = "yes"
    text = value if isinstance(value, str) else json.dumps(value)
    monkeypatch.setenv(f"ASU_STATS_{name.upper()}", text)
    with pytest.raises(InvalidSettingError) as caught:
        load()
    assert words in str(caught.value)
    assert f"(ASU_STATS_{name.upper()})" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        ({"store_directory": ".", "database_url": "sqlite:///a.db"}, "database_url (a.db)"),
        ({"store_directory": "/"}, "the settings file (asu-stats.toml)"),
        ({"database_url": "sqlite:///asu-stats-store/a.db"}, "database_url ("),
        ({"store_directory": "x", "archive_directory": "x/"}, "archive_directory ("),
        ({"store_directory": "x", "spool_directory": "y/../x/z"}, "spool_directory ("),
    ],
)
def test_the_public_directory_has_no_other_files(given: dict[str, str], inside: str) -> None:
    with pytest.raises(
        InvalidSettingError, match=r"^settings: store_directory: files in"
    ) as caught:
        load(**given)
    assert inside in str(caught.value)


def test_a_link_into_the_public_directory_is_no_way_around(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to("store")
    with pytest.raises(InvalidSettingError, match="inside is archive_directory"):
        load(store_directory=tmp_path / "store", archive_directory=tmp_path / "link" / "archive")


def test_demo_builds_end_before_their_timeout() -> None:
    with pytest.raises(InvalidSettingError, match="demo_seconds: expected at most job_timeout"):
        load(builder="demo", job_timeout_seconds=5)
    assert load(builder="none", job_timeout_seconds=5).demo_seconds == 8


def test_oldest_event_may_be_today() -> None:
    today = datetime.now(UTC).date()
    assert load(oldest_event=today).oldest_event == today


def test_every_number_has_a_greatest_value() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float}:
            with pytest.raises(InvalidSettingError, match=f"^settings: {name}: expected a"):
                load(**{name: 10**30})


@pytest.mark.parametrize("source", ["environment", "file", "given"])
def test_white_space_around_values_is_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    values: dict[str, Any] = {
        "read_access": " token\n",
        "workers": " 3 ",
        "jobs": "\tfalse ",
        "demo_seconds": " 0.5",
        "legacy_sunset": " 2027-10-01 ",
        "database_url": " sqlite:///x.db\n",
        "archive_directory": " archive_directory ",
        "ingest_token": "secret\n",
        "source": " https://example.org ",
        "live_origins": [" HTTPS://Example.org:443/ "],
        "webhooks": [{"url": " https://example.org/hook ", "secret": f" {SECRET}\n"}],
        "alerts": [{"name": " queue_long ", "above": 5, "severity": " critical "}],
    }
    if source == "file":
        tables = {name: values.pop(name) for name in ("webhooks", "alerts")}
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        for name, (table,) in tables.items():
            lines += [
                f"[[{name}]]",
                *(f"{key} = {json.dumps(each)}" for key, each in table.items()),
            ]
        (tmp_path / "asu-stats.toml").write_text("\n".join(lines))
        found = load()
    elif source == "environment":
        for name, value in values.items():
            text = value if isinstance(value, str) else f" {json.dumps(value)}\n"
            monkeypatch.setenv(f"ASU_STATS_{name.upper()}", text)
        found = load()
    else:
        found = load(**values)
    assert (found.read_access, found.workers, found.jobs) == ("token", 3, False)
    assert (found.demo_seconds, found.legacy_sunset) == (0.5, date(2027, 10, 1))
    assert (found.database_url, found.archive_directory) == (
        "sqlite:///x.db",
        Path("archive_directory"),
    )
    assert found.ingest_token
    assert found.ingest_token.get_secret_value() == "secret"
    assert (found.source, found.live_origins) == ("https://example.org", ["https://example.org"])
    assert str(found.webhooks[0].url) == "https://example.org/hook"
    (rule,) = [rule for rule in found.alerts if rule.name == "queue_long"]
    assert (rule.above, rule.severity) == (5, "critical")


def test_the_public_address_has_the_prefix_of_the_proxy() -> None:
    given = "https://example.org/stats/"
    settings = load(root_path="/stats", public_url=given)
    assert settings.public_url == "https://example.org/stats"
    with pytest.raises(InvalidSettingError, match="the path /stats, as in root_path"):
        load(root_path="/stats", public_url="https://example.org")
