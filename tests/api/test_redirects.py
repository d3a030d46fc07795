"""Paths with an extra or missing slash: served or 404, never redirected."""

from collections.abc import Iterator

import pytest

from asu_stats.dashboard.view import PATHS
from tests.support import Stats

HOSTS: tuple[dict[str, str], ...] = (
    {},
    {"Host": "evil.example"},
    {"Host": "evil.example:1", "X-Forwarded-Proto": "ftp"},
)


def paths(stats: Stats) -> Iterator[str]:
    """Every path that is served, with names in place of its parameters."""
    for path in stats.client.get("/openapi.json").json()["paths"]:
        yield path.replace("{", "").replace("}", "")
    yield from PATHS.values()
    yield from (
        "/docs",
        "/docs/migration",
        "/manual",
        "/manual/",
        "/badge/requests.svg",
        "/embed/requests",
        "/static/x",
    )
    yield from ("/openapi.json", "/sign-in", "/sign-out", "/healthz", "/nothing")


@pytest.mark.parametrize("prefix", ["", "/stats"])
def test_nobody_is_sent_to_what_a_request_names(
    prefix: str, sqlite_stats: Stats, sqlite_prefixed: Stats
) -> None:
    stats = sqlite_prefixed if prefix else sqlite_stats
    stats.client.follow_redirects = False
    for path in sorted(set(paths(stats))):
        for odd in (
            f"{path}/",
            f"{path}//",
            f"/{path}",
            f"{path}/.",
            f"{path}%2F",
            path.rstrip("/"),
        ):
            for headers in HOSTS:
                answer = stats.client.get(f"http://testserver{prefix}{odd}", headers=headers)
                where = (odd, headers, answer.status_code)
                location = answer.headers.get("location", "https://sysupgrade.openwrt.org/")
                known = ("https://sysupgrade.openwrt.org/", f"{prefix}/manual/")
                assert location.startswith(known), where
                assert answer.status_code < 500, where
                if answer.status_code == 404:
                    problem = answer.json()
                    assert problem["status"] == 404, where
                    assert problem["title"] == "Not Found", where
                    assert problem["detail"], where
                for value in answer.headers.values():
                    assert "evil.example" not in value, where


def test_a_slash_too_many_is_not_found(sqlite_stats: Stats) -> None:
    sqlite_stats.client.follow_redirects = False
    for path in ("/api/v1/stats/overview/", "/versions/", "/docs/", "/api/v1/stats/events/"):
        for method in ("GET", "HEAD", "POST"):
            assert sqlite_stats.client.request(method, path).status_code == 404, (method, path)
