"""`read_access = "token"`: statistics need a read token; everything else is unchanged."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from asu_stats.api import tokens
from tests.conftest import sqlite_database
from tests.support import Stats
from tests.support import request as sample_request

OPEN = {
    "/api/v1/build",
    "/api/v1/build/{request_hash}",
    "/store/{path:path}",
    "/json/v1/overview.json",
    "/json/v1/latest.json",
    "/json/v1/branches.json",
    "/json/v1/snapshots/packages/{arch}-index.json",
    "/json/v1/snapshots/targets/{board}/{subtarget}/index.json",
    "/json/v1/snapshots/targets/{board}/{subtarget}/{profile}.json",
    "/json/v1/releases/{version}/packages/{arch}-index.json",
    "/json/v1/releases/{version}/targets/{board}/{subtarget}/index.json",
    "/json/v1/releases/{version}/targets/{board}/{subtarget}/{profile}.json",
    "/api/v1/overview",
    "/api/overview",
    "/api/v1/latest",
    "/api/v1/revision/{version}/{board}/{subtarget}",
    "/api/v1/stats/events",
    "/api/v1/stats/alerts/silences",  # for operators only
    "/api/v1/stats/alerts/silences/{number}",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/favicon.ico",
    "/robots.txt",
    "/docs",
    "/docs/migration",
    "/manual",
    "/manual/{name:path}",
    "/static/{name:path}",
    "/sign-in",
    "/sign-out",
    "/alerts/silence",
    "/alerts/unsilence",
}
GUARDED = (
    "/api/v1/stats",
    "/api/v1/stats/overview",
    "/api/v1/stats/clients/luci",
    "/api/v1/stats/now",
    "/api/v1/stats/jobs",
    "/api/v1/stats/events/",
    "/api/v1/builds-per-day",
    "/api/v1/builds-by-version",
    "/metrics",
    "/badge/requests.svg",
    "/embed/requests",
    "/",
    "/versions",
    "/no-such-page",
)
HTML = {"accept": "text/html,*/*;q=0.8"}
OWN = {"origin": "http://testserver"}


@pytest.fixture
def private(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """A server whose statistics are not public."""
    with Stats.on(sqlite_database(request), tmp_path / "spool", read_access="token") as stats:
        stats.client.follow_redirects = False
        yield stats


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def paths(routes: Any) -> Iterator[str]:
    """Every path of an application, also those of included routers."""
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and hasattr(inner, "routes"):
            yield from paths(inner.routes)
        else:
            yield route.path


def test_what_is_open_is_listed(private: Stats) -> None:
    app: Any = private.client.app
    policies = app.state.policies
    shown = {path: policies.of(re.sub(r"{.*?}", "x", path)) for path in paths(app.routes)}
    found = {path for path, policy in shown.items() if policy.access != "read"}
    assert found == OPEN


@pytest.mark.parametrize("path", GUARDED)
def test_without_a_token_nothing_is_said(private: Stats, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = private.client.request(method, path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == 'Bearer realm="asu-stats"'
        assert answer.headers["content-type"] == "application/problem+json"
        assert "content-security-policy" in answer.headers


def test_a_read_token_opens_and_an_answer_in_memory_does_not(private: Stats) -> None:
    private.record(sample_request("h1"))
    token = tokens.create(private.engine, "reader", "read")
    for _ in range(3):
        answer = private.client.get("/api/v1/stats/overview", headers=bearer(token))
        assert answer.json()["totals"]["requests"] == 1
        assert private.client.get("/api/v1/stats/overview").status_code == 401
    ingest = tokens.create(private.engine, "sender", "ingest")
    assert private.client.get("/api/v1/stats/now", headers=bearer(ingest)).status_code == 403
    assert private.client.get("/api/v1/stats/now", headers=bearer("x")).status_code == 401
    tokens.revoke(private.engine, "reader")
    assert private.client.get("/api/v1/stats/now", headers=bearer(token)).status_code == 401


def test_building_and_sending_go_on(private: Stats) -> None:
    assert private.record(sample_request("h1")) == {"accepted": 1, "duplicates": 0}
    assert private.client.post("/api/v1/build", json={}).status_code == 422
    assert private.client.get("/api/v1/build/none").status_code == 404
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert private.client.get(path).status_code == 200
    preflight = {"access-control-request-method": "GET", "origin": "https://a.example"}
    assert private.client.options("/api/v1/stats/now", headers=preflight).status_code == 200


def test_signing_in_and_out(private: Stats) -> None:
    client, token = private.client, tokens.create(private.engine, "reader", "read")
    sent = client.get("/versions?days=30&q=a b", headers=HTML)
    assert sent.status_code == 303
    assert sent.headers["location"] == "/sign-in?next=%2Fversions%3Fdays%3D30%26q%3Da%2520b"
    assert "<form" in client.get(sent.headers["location"]).text
    form = {"token": f" {token} ", "next": "/versions?days=30"}
    answer = client.post("/sign-in", data=form, headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/versions?days=30")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert token not in cookie
    assert client.get("/versions", headers=HTML).status_code == 200
    assert "Sign out" in client.get("/versions", headers=HTML).text
    assert client.get("/api/v1/stats/now").status_code == 200
    with client.websocket_connect("/api/v1/stats/live") as socket:
        assert socket.receive_json()["type"] == "now"
    assert client.post("/sign-out", headers=OWN).status_code == 303
    assert client.get("/api/v1/stats/now").status_code == 401
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/api/v1/stats/live"),
    ):
        pass
    assert refused.value.status_code == 401


def signed_in(stats: Stats, name: str = "reader") -> str:
    """Sign in, and return the cookie's value."""
    token = tokens.create(stats.engine, name, "read")
    stats.client.post("/sign-in", data={"token": token}, headers=OWN)
    return str(stats.client.cookies["asu_stats_session"])


def test_a_session_ends_with_its_token_and_by_itself(private: Stats) -> None:
    signed_in(private)
    private.now += timedelta(days=6)
    assert private.client.get("/api/v1/stats/now").status_code == 200
    private.now += timedelta(days=2)
    assert private.client.get("/api/v1/stats/now").status_code == 401
    private.now -= timedelta(days=2)
    tokens.revoke(private.engine, "reader")
    assert private.client.get("/api/v1/stats/now").status_code == 401


def test_a_forged_cookie_opens_nothing(private: Stats) -> None:
    good = signed_in(private)
    other = signed_in(private, "other")
    name, until, signature = good.split(".")
    forged = (
        f"{name}.{int(until) + 1}.{signature}",
        f"{other.split('.')[0]}.{until}.{signature}",
        f"{name}.{until}.{signature[:-1]}",
        f"{name}.{until}.",
        f"{name}.{'9' * 5000}.{signature}",
        f"{name}.٣.{signature}",
        f"!!.{until}.{signature}",
        "",
        "..",
        "a.b.c.d",
    )
    private.client.cookies.clear()
    for cookie in (*forged, good):
        headers = {"cookie": f"asu_stats_session={cookie}".encode()}
        answer = private.client.get("/api/v1/stats/now", headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == (200 if cookie == good else 401), cookie


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "ftp://testserver:80"},
        {"origin": "wss://testserver"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_forms_of_strangers_sign_nobody_in_or_out(private: Stats, headers: dict[str, str]) -> None:
    token = tokens.create(private.engine, "other", "read")
    answer = private.client.post("/sign-in", data={"token": token}, headers=headers)
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers
    signed_in(private)
    answer = private.client.post("/sign-out", headers=headers)
    assert answer.status_code == 400
    assert private.client.get("/api/v1/stats/now").status_code == 200


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil", "", "/\n"])
def test_signing_in_leads_nowhere_else(private: Stats, target: str) -> None:
    token = tokens.create(private.engine, "reader", "read")
    form = {"token": token, "next": target}
    answer = private.client.post("/sign-in", data=form, headers=OWN)
    assert answer.headers["location"] == "/"


def test_what_is_no_token_is_said(private: Stats) -> None:
    ingest = tokens.create(private.engine, "sender", "ingest")
    for token in ("", "x", ingest, "\x00", "ü" * 100):
        answer = private.client.post("/sign-in", data={"token": token}, headers=OWN)
        assert answer.status_code == 401
        assert "Invalid token, or it lacks the scope read or operator" in answer.text
    assert private.client.post("/sign-in", json={"token": "x"}, headers=OWN).status_code == 400
    big = {"token": "x" * 10_000}
    assert private.client.post("/sign-in", data=big, headers=OWN).status_code == 400


def test_behind_tls_and_a_prefix(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    options = {"read_access": "token", "root_path": "/stats"}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        client: TestClient = stats.client
        client.follow_redirects = False
        token = tokens.create(stats.engine, "reader", "read")
        answer = client.get("/stats/versions", headers=HTML)
        assert answer.headers["location"] == "/stats/sign-in?next=%2Fversions"
        own = {"origin": "https://testserver"}
        form = {"token": token, "next": "/versions"}
        answer = client.post("/stats/sign-in", data=form, headers=own)
        assert answer.headers["location"] == "/stats/versions"
        parts = set(answer.headers["set-cookie"].split("; "))
        assert {"Secure", "Path=/stats", "HttpOnly"} <= parts


def test_where_all_is_public_one_signs_in_to_operate(sqlite_stats: Stats) -> None:
    assert "Everybody can read these statistics" in sqlite_stats.client.get("/sign-in").text
    assert sqlite_stats.client.get("/api/v1/stats/now").status_code == 200
    assert "Sign out" not in sqlite_stats.client.get("/versions").text
    signed_in(sqlite_stats)
    for path in ("/versions", "/insights", "/jobs"):
        assert "Sign out" in sqlite_stats.client.get(path).text
    tokens.revoke(sqlite_stats.engine, "reader")
    assert "Sign out" not in sqlite_stats.client.get("/versions").text
