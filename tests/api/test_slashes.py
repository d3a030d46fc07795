"""`//api/…` is `/api/…`, for access control too: a server URL can end in a slash."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from asu_stats.dashboard.view import PATHS
from tests.builds.support import body
from tests.conftest import sqlite_database
from tests.support import TOKEN, Stats, request

LIVE = "/api/v1/stats/live"
CHANGES_BY_ITSELF = {"/metrics", "/healthz", "/readyz", "/api/v1/stats/jobs"}


def paths(stats: Stats) -> list[str]:
    """Every path that GET is served at, with names in place of its parameters."""
    document = stats.client.get("/openapi.json").json()["paths"]
    served = [path for path, operations in document.items() if "get" in operations]
    pages = list(PATHS.values())
    named = [path.replace("{", "").replace("}", "") for path in served]
    return sorted({*named, *pages, "/docs", "/openapi.json", "/static/x", "/sign-in", "/nothing"})


@pytest.fixture(params=["", "/stats"])
def private(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """Statistics for those with a token only, also behind a proxy that takes off a prefix."""
    options = {"read_access": "token", "root_path": request.param, "rate_limit_read": 3}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        stats.client.follow_redirects = False
        yield stats


def test_the_response_is_the_same(sqlite_stats: Stats) -> None:
    client = sqlite_stats.client
    client.follow_redirects = False
    sqlite_stats.record(request("h1"))
    for path in paths(sqlite_stats):
        plain = client.get(path)
        for slashes in ("/", "/%2F"):
            answer = client.get(f"http://testserver{slashes}{path}")
            assert answer.status_code == plain.status_code, (slashes, path)
            assert answer.headers.get("location") == plain.headers.get("location"), path
            if path not in CHANGES_BY_ITSELF:
                assert answer.content == plain.content, (slashes, path)


def test_access_is_the_same(private: Stats) -> None:
    root = private.settings.root_path
    for path in paths(private):
        plain = private.client.get(f"{root}{path}")
        for slashes in ("//", "/%2F"):
            answer = private.client.get(f"http://testserver{root}{slashes}{path}")
            same = (plain.status_code, plain.headers.get("location"))
            assert (answer.status_code, answer.headers.get("location")) == same, (slashes, path)
    for path in ("/api/v1/stats/overview", "/metrics", "/badge/requests.svg"):
        assert private.client.get(f"http://testserver{root}/{path}").status_code == 401
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        private.client.websocket_connect(f"ws://testserver{root}/{LIVE}"),
    ):
        pass
    assert denied.value.status_code == 401


def test_a_slash_more_is_no_budget_more(private: Stats) -> None:
    root = private.settings.root_path
    stranger = TestClient(private.client.app, client=("203.0.113.7", 1), root_path=root)
    url = f"http://testserver{root}"
    statuses = [
        stranger.get(f"{url}{'/' * number}/api/v1/stats/overview").status_code
        for number in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]
    assert stranger.get(f"{url}//json/v1/overview.json").status_code == 200  # never limited


def test_builds_and_events_can_be_sent(sqlite_stats: Stats) -> None:
    client = sqlite_stats.client
    asked = client.post("http://testserver//api/v1/build", json=body())
    assert asked.status_code == 202
    found = f"http://testserver//api/v1/build/{asked.json()['request_hash']}"
    assert client.get(found).status_code == client.head(found).status_code == 202
    broken = client.post("http://testserver//api/v1/build", json=[])
    assert broken.headers["content-type"] == "application/json"

    events = "http://testserver//api/v1/stats/events"
    assert client.post(events, json=request("h1")).status_code == 401
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post(events, json=request("h1"), headers=token).status_code == 200
