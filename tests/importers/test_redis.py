"""Import of upstream's history from Redis TimeSeries."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from fakeredis import TcpFakeServer
from typer.testing import CliRunner, Result

from asu_stats.cli.program import app
from asu_stats.exceptions import ForeignDataError
from asu_stats.store.verification import verify
from tests.importers.test_command import content
from tests.support import Stats, build

START = datetime(2026, 9, 28, 10, tzinfo=UTC)
DEVICE = ("24.10.4", "x86/64", "generic")
OTHER = ("SNAPSHOT", "ath79/generic", "tplink_archer-c7-v5")


class Upstream:
    """The upstream server, as far as it writes to Redis."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.Redis(port=port, protocol=2)
        self.errors: list[str] = []

    def sample(self, key: str, at: datetime, labels: dict[str, str], value: float = 1) -> None:
        stamp = round(at.timestamp() * 1000)
        self.client.ts().add(key, stamp, value, labels=labels, duplicate_policy="last")

    def summary(self, name: str, at: datetime, count: int = 1) -> None:
        self.sample(f"stats:build:{name}", at, {"stats": "summary"}, count)

    def request(self, at: datetime, client: str = "luci/1", *, hit: bool = False) -> None:
        self.summary("requests", at)
        labels = {"stats": "clients", "client": client}
        self.sample(f"stats:clients:{client}", at + timedelta(milliseconds=3), labels)
        self.summary("cache-hits" if hit else "cache-misses", at + timedelta(milliseconds=5))

    def built(self, at: datetime, names: tuple[str, str, str], seconds: int | None) -> None:
        labels = dict(zip(("version", "target", "profile"), names, strict=True))
        self.sample(f"stats:builds:{':'.join(names)}", at, {"stats": "builds", **labels})
        if seconds is not None:
            soon = at + timedelta(milliseconds=2)
            self.sample(f"stats:time:{':'.join(names)}", soon, {"stats": "time", **labels}, seconds)
        self.summary("successes", at + timedelta(milliseconds=9))

    def failed(self, at: datetime, names: tuple[str, str, str] | None, message: str = "") -> None:
        self.summary("failures", at)
        if names:
            entry = f"{at:%Y-%m-%d %H:%M:%S} {':'.join(names)} {message}"
            self.client.lpush("build:errors", entry)


@pytest.fixture(autouse=True)
def _directory_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejected rows go to the current directory by default."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found = Upstream(server.server_address[1])
    yield found
    found.client.close()
    server.shutdown()
    server.server_close()


def command(database: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["import", "redis", *arguments, "--database", database])


def imported(database: str, *arguments: str) -> dict[str, Any]:
    done = command(database, *arguments, "--json")
    assert done.exception is None, done.exception
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def later(seconds: float, days: int = 0) -> datetime:
    return START + timedelta(days=days, seconds=seconds)


def busy_days(upstream: Upstream) -> None:
    upstream.request(later(0), "luci/1")
    upstream.request(later(10), "owut/2026.1", hit=True)
    for number in range(3):  # so close that nobody can tell whose the hit was
        upstream.request(later(20 + number / 10), f"client-{number}/x", hit=number == 1)
    upstream.request(later(30), "a:b/1/2")
    upstream.built(later(40), DEVICE, 61)
    upstream.built(later(50), OTHER, None)
    upstream.summary("successes", later(60))  # a build of which nothing else is known
    upstream.failed(later(70), OTHER, "Impossible package selection: foo")
    upstream.failed(later(80), None)
    midnight = START.replace(hour=23, minute=59, second=59, microsecond=998_000)
    upstream.request(midnight, "luci/1", hit=True)
    upstream.request(later(0, days=1), "luci/2")


def test_what_the_series_say_is_counted(upstream: Upstream, stats: Stats) -> None:
    busy_days(upstream)
    url = stats.settings.database_url
    planned = imported(url, upstream.url, "--dry-run")
    assert stats.get("overview")["totals"]["requests"] == 0
    done = imported(url, upstream.url, "--verify")
    assert done["accepted"] == done["events"] == planned["events"] == 13
    assert all(row["source"] == row["target"] for row in done["compared"])
    assert "stats:packages" in done["unknown"][0]
    assert imported(url, upstream.url)["accepted"] == 0

    overview = stats.get("overview")
    assert overview["totals"] == {
        "requests": 8,
        "unique_requests": None,
        "cache_hits": 3,
        "cache_hit_rate": 37.5,
        "successful_builds": 3,
        "failed_builds": 2,
        "success_rate": 60.0,
        "rejected_requests": None,
        "unique_rejected_requests": None,
        "cancelled_builds": 0,
    }
    assert "5 requests were imported without outcome" in " ".join(overview["period"]["incomplete"])
    assert overview["build_performance"]["avg_duration_seconds"] == 61.0
    assert overview["diff_packages"]["unknown"] == 8
    clients = {row["client"]: row for row in stats.get("clients")}
    asked = {name: (row["total_requests"], row["cache_hits"]) for name, row in clients.items()}
    assert asked == {"luci": (3, 1), "owut": (1, 1), "a:b": (1, 0), "unknown": (3, 1)}
    assert clients["luci"]["pending"] is None
    assert clients["owut"]["pending"] == 0
    versions = {row["version"]: row for row in stats.get("versions")}
    assert {name: row["successful_builds"] for name, row in versions.items()} == {
        "24.10.4": 1,
        "SNAPSHOT": 1,
        "unknown": 1,
    }
    assert versions["SNAPSHOT"]["failed_builds"] == versions["unknown"]["failed_builds"] == 1
    kinds = {row["type"] for c in stats.get("errors")["by_category"] for row in c["top_errors"]}
    assert kinds == {"package_unsatisfiable", "unknown"}
    days = {row["timestamp"]: row["requests"] for row in stats.get("timeseries", days=3)}
    assert days == {"2026-09-28": 7, "2026-09-29": 1, "2026-09-30": 0}
    assert list(verify.differences(stats.engine)) == []


def test_old_endpoints_say_what_the_old_server_said(upstream: Upstream, tmp_path: Path) -> None:
    busy_days(upstream)
    url = f"sqlite:///{tmp_path / 'stats.db'}"
    imported(url, upstream.url)
    with Stats.on(url, tmp_path / "spool", legacy_shape="upstream") as stats:
        chart = stats.client.get("/api/v1/builds-per-day").json()
    data = {
        row["label"]: dict(zip(chart["labels"], row["data"], strict=True))
        for row in chart["datasets"]
    }
    counts = {label: [row["2026-09-28Z"], row["2026-09-29Z"]] for label, row in data.items()}
    assert counts == {"Requests": [7, 1], "Cache-Hits": [3, 0], "Failures": [2, 0]}


def test_new_samples_are_added_and_the_last_minutes_wait(
    upstream: Upstream, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'stats.db'}"
    upstream.request(later(0))
    assert imported(url, upstream.url)["accepted"] == 1
    upstream.request(later(100), hit=True)
    upstream.request(datetime.now(UTC) - timedelta(minutes=1))
    assert imported(url, upstream.url)["accepted"] == 1
    once = tmp_path / "once.db"
    imported(f"sqlite:///{once}", upstream.url)
    assert content(once) == content(tmp_path / "stats.db")


def test_what_belongs_to_nothing_is_kept(upstream: Upstream, tmp_path: Path) -> None:
    upstream.request(later(0))
    upstream.summary("cache-hits", later(-600))
    upstream.client.lpush("build:errors", "what?", f"{later(5):%Y-%m-%d %H:%M:%S} a:b/c:d text")
    done = imported(f"sqlite:///{tmp_path / 'stats.db'}", upstream.url)
    assert (done["rejected"], done["rejected_file"]) == (3, "redis.rejected.ndjson")
    kept = [json.loads(line) for line in Path("redis.rejected.ndjson").read_text().splitlines()]
    assert [line["reason"] for line in kept] == [
        "not an entry of the error list",
        "no request was counted before it",
        "no failed build was counted at that time",
    ]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://user:secret@127.0.0.1:1/0", "refused"),
        ("http://127.0.0.1", "expected a URL such as redis://localhost"),
        ("nonsense", "expected a URL such as redis://localhost"),
    ],
)
def test_what_is_no_redis_is_named(tmp_path: Path, url: str, words: str) -> None:
    done = command(f"sqlite:///{tmp_path / 'stats.db'}", url)
    assert isinstance(done.exception, ForeignDataError)
    assert words in str(done.exception)
    assert "secret" not in str(done.exception)


def test_a_redis_without_statistics_is_named(upstream: Upstream, tmp_path: Path) -> None:
    done = command(f"sqlite:///{tmp_path / 'stats.db'}", upstream.url)
    assert "nothing to import" in str(done.exception)
    upstream.client.set("stats:build:requests", "7")
    done = command(f"sqlite:///{tmp_path / 'stats.db'}", upstream.url)
    assert isinstance(done.exception, ForeignDataError)


def test_samples_of_a_clock_at_zero_are_kept_aside(upstream: Upstream, tmp_path: Path) -> None:
    zero = datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    upstream.request(zero)
    upstream.request(later(0))
    aside = tmp_path / "aside"
    url = f"sqlite:///{tmp_path / 'stats.db'}"
    done = imported(url, upstream.url, "--verify", "--rejected", str(aside))
    assert (done["rows"], done["accepted"], done["rejected"]) == (1, 1, 1)
    assert "2004-01-01 or later (oldest_event)" in aside.read_text()
    assert [row["name"] for row in done["compared"]] == ["1970-01-01", "2026-09-28"]


def test_samples_that_were_imported_before_are_not_counted_twice(
    upstream: Upstream, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'stats.db'}"
    for number in range(30):
        upstream.request(later(number * 20), hit=number % 2 == 0)
    first = imported(url, upstream.url)
    end = round(later(50).timestamp() * 1000)
    upstream.client.ts().delete("stats:build:requests", 0, end)  # what its retention does
    refused = command(url, upstream.url)
    assert isinstance(refused.exception, ForeignDataError)
    assert "--force" in str(refused.exception)
    assert imported(url, upstream.url, "--source", first["source"])["accepted"] == 0
    assert imported(url, upstream.url, "--force")["accepted"] > 0


def test_builds_that_rq_brought_in_are_not_counted_again(
    upstream: Upstream, sqlite_stats: Stats
) -> None:
    busy_days(upstream)
    sqlite_stats.record(*build("h1", build_id="rq:execution-1", end=later(45)))
    done = imported(sqlite_stats.settings.database_url, upstream.url)

    assert done["kinds"] == {"request": 5, "cache_hit": 3, "success": 1}
    assert sqlite_stats.get("overview")["totals"]["successful_builds"] == 2
