"""Rate limits: clients over the limit get 429, others do not."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from asu_stats.api.limits import budget_of, client_of
from asu_stats.exceptions import InvalidSettingError
from asu_stats.policies import Policies
from asu_stats.settings import load
from tests.builds.support import body
from tests.conftest import sqlite_database
from tests.support import TOKEN, Stats, request

STRANGER = ("203.0.113.7", 50000)
LIMITS = {"rate_limit_read": 5, "rate_limit_expensive": 2, "rate_limit_ingest": 3}
OVERVIEW = "/api/v1/stats/overview"

Made = Callable[..., Stats]


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    opened: list[AbstractContextManager[Stats]] = []

    def make(**settings: Any) -> Stats:
        context = Stats.on(sqlite_database(request), tmp_path / "spool", **(LIMITS | settings))
        opened.append(context)
        return context.__enter__()

    yield make
    for context in opened:
        context.__exit__(None, None, None)


def client_at(stats: Stats, address: str) -> TestClient:
    return TestClient(stats.client.app, client=(address, 50000), raise_server_exceptions=False)


def statuses(ask: Callable[[], Response], times: int) -> list[int]:
    return [ask().status_code for _ in range(times)]


def test_who_asks_too_much_is_told_so(made: Made) -> None:
    client = client_at(made(), STRANGER[0])
    answers = [client.get(OVERVIEW) for _ in range(7)]  # all but the first from memory
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[0].headers["RateLimit-Policy"] == '"read";q=5;w=60'
    left = [re.fullmatch(r'"read";r=(\d);t=(\d+)', a.headers["RateLimit"]) for a in answers]
    assert [found and found[1] for found in left] == list("4321000")
    refused = answers[-1]
    assert left[-1]
    assert 1 <= int(left[-1][2]) <= 60
    assert refused.headers["Retry-After"] == left[-1][2]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    detail = refused.json().pop("detail")
    assert "5 requests per minute" in detail
    assert re.search(r"try again in \d+ seconds?\b", detail)
    assert {**refused.json(), "detail": ""} == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "",
        "violated-policies": ["read"],
    }
    assert client.head(OVERVIEW).status_code == 429


def test_each_address_and_each_budget_for_itself(made: Made) -> None:
    stats = made()
    client, other = client_at(stats, STRANGER[0]), client_at(stats, "203.0.113.8")
    assert statuses(lambda: client.get(OVERVIEW), 6)[-1] == 429
    assert other.get(OVERVIEW).status_code == 200
    year = f"{OVERVIEW}?days=365"
    assert statuses(lambda: client.get(year), 3) == [200, 200, 429]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    sent = [
        client.post("/api/v1/stats/events", json=request(f"h{number}"), headers=headers)
        for number in range(4)
    ]
    assert [answer.status_code for answer in sent] == [200, 200, 200, 429]
    assert sent[-1].json()["violated-policies"] == ["ingest"]
    assert stats.get("overview")["totals"]["requests"] == 3


def test_ipv6_networks_are_one_client(made: Made) -> None:
    stats = made()
    for number in range(5):
        assert client_at(stats, f"2001:db8::{number + 1}").get(OVERVIEW).status_code == 200
    assert client_at(stats, "2001:db8::ffff").get(OVERVIEW).status_code == 429
    assert client_at(stats, "2001:db8:0:1::1").get(OVERVIEW).status_code == 200


def test_the_build_service_is_never_limited(made: Made) -> None:
    client = client_at(made(builder="none"), STRANGER[0])
    posted = [client.post("/api/v1/build", json=body()) for _ in range(8)]
    assert {answer.status_code for answer in posted} == {202}
    path = f"/api/v1/build/{posted[0].json()['request_hash']}"
    for ask in (client.get, client.head):
        answers = [ask(path) for _ in range(8)]
        assert {answer.status_code for answer in answers} == {202}
        assert not any("RateLimit" in answer.headers for answer in answers)
    for path in ("/healthz", "/readyz", "/metrics", "/store/x", "/api/v1/build/nope"):
        assert 429 not in statuses(lambda path=path: client.get(path), 8)  # type: ignore[misc]
    # What begins alike is none of the build service's.
    old = [client.get("/api/v1/builds-per-day").status_code for _ in range(8)]
    assert old[-1] == 429


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "x"])
def test_this_machine_is_not_limited(made: Made, address: str) -> None:
    client = client_at(made(), address)
    assert set(statuses(lambda: client.get(OVERVIEW), 8)) == {200}


def test_zero_is_no_limit(made: Made) -> None:
    client = client_at(made(rate_limit_read=0), STRANGER[0])
    answer = [client.get(OVERVIEW) for _ in range(8)][-1]
    assert answer.status_code == 200
    assert "RateLimit" not in answer.headers


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "expected"),
    [
        (0, "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        (0, "127.0.0.1", "198.51.100.1", None),
        (1, "127.0.0.1", "198.51.100.1", "198.51.100.1"),
        (1, "127.0.0.1", "10.0.0.1, 198.51.100.1", "198.51.100.1"),
        (2, "127.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (2, "127.0.0.1", "198.51.100.1", "198.51.100.1"),
        (1, "10.0.0.1", "", "10.0.0.1"),
        (1, "127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        (1, "127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "127.0.0.1", "2001:db8::1", "2001:db8::1"),
        (1, "127.0.0.1", "unknown", None),
        (0, None, "", None),
    ],
)
def test_an_address_is_believed_behind_so_many_proxies_only(
    proxies: int, peer: str | None, forwarded: str, expected: str | None
) -> None:
    scope = {
        "type": "http",
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", forwarded.encode())] if forwarded else [],
    }
    found = client_of(scope, proxies)
    assert (found and str(found)) == expected


@pytest.fixture(scope="module")
def policies(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Policies]:
    """The policies of a whole service."""
    directory = tmp_path_factory.mktemp("policies")
    with Stats.on(sqlite_database(request, directory), directory / "spool") as stats:
        app: Any = stats.client.app
        yield app.state.policies


@pytest.mark.parametrize(
    ("path", "query", "accept", "expected"),
    [
        (OVERVIEW, "", "", "read"),
        (OVERVIEW, "days=92", "", "read"),
        (OVERVIEW, "days=93", "", "expensive"),
        (OVERVIEW, "days=nonsense", "", "read"),
        (OVERVIEW, "start=2026-01-01&end=2026-03-31", "", "read"),
        (OVERVIEW, "start=2025-01-01&end=2026-03-31", "", "expensive"),
        (OVERVIEW, "start=2020-01-01", "", "expensive"),
        (OVERVIEW, "&" * 1000, "", "read"),
        ("/api/v1/stats/timeseries", "interval=hour&days=7", "", "read"),
        ("/api/v1/stats/timeseries", "interval=hour&days=8", "", "expensive"),
        ("/api/v1/stats/versions", "format=csv", "", "expensive"),
        ("/api/v1/stats/versions", "", "text/csv", "expensive"),
        ("/api/v1/stats/events", "", "", "ingest"),
        ("/api/v1/builds-by-version", "", "", "read"),
        ("/", "", "", "read"),
        ("/api/v1/build", "", "", "none"),
        ("/api/v1/build/abc", "", "", "none"),
        ("/api/v1/build/abc\ndef", "", "", "none"),
        ("/json/v1/branches.json", "", "", "none"),
    ],
)
def test_what_costs_what(
    policies: Policies, path: str, query: str, accept: str, expected: str
) -> None:
    headers = [(b"accept", accept.encode())] if accept else []
    scope = {"type": "http", "path": path, "query_string": query.encode(), "headers": headers}
    assert budget_of(scope, policies) == expected


def test_a_store_that_is_away_limits_nobody(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    client = client_at(made(rate_limit_storage="redis://127.0.0.1:1"), STRANGER[0])
    assert set(statuses(lambda: client.get(OVERVIEW), 8)) == {200}
    assert [r.name for r in caplog.records].count("asu_stats.api.limits") == 1
    assert STRANGER[0] not in caplog.text


def test_addresses_are_kept_nowhere(made: Made) -> None:
    stats = made()
    client = client_at(stats, STRANGER[0])
    statuses(lambda: client.get(OVERVIEW), 3)
    assert STRANGER[0].encode() not in Path(str(stats.settings.database_file)).read_bytes()


def test_only_redis_is_a_store() -> None:
    with pytest.raises(InvalidSettingError, match="rate_limit_storage"):
        load(rate_limit_storage="memcached://x")
