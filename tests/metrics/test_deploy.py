"""The files in `deploy/` work with a real Prometheus and a real server."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from asu_stats.store.details.live_counts import DURATION_BUCKETS
from tests import processes
from tests.support import TOKEN, build, request

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "asu-stats.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "asu-stats.json"
# Metrics that a server without a replica does not have.
OF_A_REPLICA = {"asu_stats_replica_lag_seconds", "asu_stats_replica_used"}
# Only there once there is something of the kind; their queries may find nothing here.
RARE = (
    "asu_queue_wait_seconds",
    "asu_queue_oldest_timestamp_seconds",
    "asu_stats_task_last_success_timestamp_seconds",
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")),
    reason="no Prometheus on this machine (Debian's package prometheus)",
)


def test_rules() -> None:
    found = subprocess.run(  # its lint finds nothing either
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_configuration_of_the_container(tmp_path: Path) -> None:
    for path in (DEPLOY / "container" / "prometheus.yml", RULES):
        shutil.copy(path, tmp_path)
    found = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


class Prometheus:
    """A Prometheus of our own that scrapes one server every second."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **params: str) -> Any:
        url = f"{self._url}/api/v1/{path}?{urlencode(params)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def wait_for(self, expression: str, seconds: float = 120) -> list[Any]:
        """Return what a query finds. A scrape that takes too long leaves nothing to find."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                if found := self.query(expression):
                    return found
            time.sleep(0.1)
        raise AssertionError(f"{expression}: nothing after {seconds} s")


@pytest.fixture(scope="module")
def prometheus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    directory: Path = tmp_path_factory.mktemp("prometheus")
    shutil.copy(request.getfixturevalue("sqlite_template"), directory / "stats.db")
    server_port, port = processes.free_port(), processes.free_port()
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{RULES}]\n"
        "scrape_configs:\n"
        "  - job_name: asu-stats\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{server_port}']}}]\n"
    )
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    database = f"sqlite:///{directory / 'stats.db'}"
    serve = ("serve", "--port", str(server_port))
    with (
        processes.running(directory, database, *serve),
        (directory / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ}) as process,
    ):
        try:
            processes.wait_ready(server_port)
            prometheus = Prometheus(port)
            prometheus.wait_for("asu_requests_total")
            _record(server_port)
            prometheus.wait_for('increase(asu_builds_total{status="failure"}[1m]) > 0')
            yield prometheus
        finally:
            process.terminate()


def _record(port: int) -> None:
    """Let one build end well and one fail, now."""
    now = datetime.now(UTC)
    events = [
        request("h1", now),
        *build("h1", end=now),
        *build("h2", "failure", end=now),
        request("h1", now, outcome="cache_hit"),
    ]
    call = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/stats/events",
        json.dumps(events).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=60) as answer:
        assert answer.status == 200


def test_every_query_of_the_dashboard_finds_something(prometheus: Prometheus) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    targets = [(panel["title"], target) for panel in panels for target in panel["targets"]]
    assert len(targets) > 20
    for title, target in targets:
        expression = target["expr"].replace("$__rate_interval", "1m")
        rare = any(name in expression for name in (*RARE, *OF_A_REPLICA))
        found = prometheus.query(expression) if rare else prometheus.wait_for(expression)
        wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        for series in found:
            assert wanted <= series["metric"].keys(), f"{title}: {target['legendFormat']}"


def test_metrics_arrive_as_what_they_are(prometheus: Prometheus) -> None:
    kinds = prometheus.ask("metadata")
    assert kinds["asu_requests"][0]["type"] == "counter"
    assert kinds["asu_build_duration_seconds"][0]["type"] == "histogram"
    bars = prometheus.wait_for("asu_build_duration_seconds_bucket")
    assert len(bars) == len(DURATION_BUCKETS) + 1


def test_rules_find_their_metrics(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 10
    for rule in rules:
        assert rule["health"] in {"ok", "unknown"}, rule
        names = set(re.findall(r"\b(?:asu_|asu:)[a-z0-9_:]+", rule["query"]))
        for name in names - OF_A_REPLICA:  # tests/store/test_replica.py has one
            prometheus.wait_for(name)
