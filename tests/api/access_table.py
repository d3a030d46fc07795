"""Status and rate limit budget of every path and method, for each kind of caller.

Run it as a program to write `access_table.txt`; look at every line that changes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from starlette.testclient import TestClient

from asu_stats.api import tokens
from asu_stats.dashboard.view import PAGES
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from tests.support import Stats

FILE: Final = Path(__file__).with_suffix(".txt")
OPTIONS: Final[dict[str, Any]] = {
    "read_access": "token",
    "rate_limit_read": 10**6,
    "rate_limit_expensive": 10**6,
    "rate_limit_ingest": 10**6,
    "builder": "demo",
}
METHODS: Final = ("GET", "BREW")
_STRANGER: Final = "203.0.113.7"
# Paths that no route has, and other spellings of those that one has.
_ODD: Final = (
    "/nothing",
    "/favicon.ico",
    "/robots.txt",
    "/api",
    "/api/v1",
    "/api/v1/stats",
    "/api/v1/stats/",
    "/api/v1/stats/overview/",
    "/api/v1/stats/overview%0A",
    "/api/v1/stats/overview/..%2f..%2fhealthz",
    "/api/v1/stats/events/",
    "/api/v1/stats/events%0A",
    "/api/v1/stats/live",
    "/api/v1/build/",
    "/api/v1/build/a/b",
    "/api/v1/build/a%0Ab",
    "/api/v1/builds",
    "/api/v1/buildx",
    "/api%2Fv1/build",
    "/api/v1%2Fstats/overview",
    "/API/v1/build",
    "/api/v1/latest/",
    "/api/v1/latest%0A",
    "/api/v1/overview/",
    "/api/v1/revision",
    "/api/v1/revision/",
    "/api/v1/revision/a",
    "/api/overviews",
    "/store",
    "/store/",
    "/store/a%0Ab",
    "/store/..%2F..%2Fmetrics",
    "/json",
    "/json/",
    "/json/v1/nothing.json",
    "/json/v2/a%0Ab",
    "/static",
    "/static/",
    "/static/../metrics",
    "/static/%2e%2e/%2e%2e/metrics",
    "/docs/",
    "/docs/nothing",
    "/docs%0A",
    "/docsx",
    "/healthz/",
    "/healthz%0A",
    "/readyz/",
    "/metrics/",
    "/openapi.json/",
    "/openapi.jsonx",
    "/sign-in/",
    "/sign-ins",
    "//healthz",
    "//api/v1/stats/overview",
    "/%2Fmetrics",
    "///static/x",
    "/.versions.json",
    "/snapshots//.targets.json",
)


def paths(stats: Stats) -> list[str]:
    """Return every path to try: those of the document, of pages and files, and odd ones."""
    document = stats.client.get("/openapi.json").json()["paths"]
    documented = [path.replace("{", "").replace("}", "") for path in document]
    pages = [path for _, _, path in PAGES]
    more = (
        "/docs",
        "/docs/migration",
        "/manual",
        "/manual/x",
        "/static/x",
        "/openapi.json",
        "/sign-in",
        "/sign-out",
        "/alerts/silence",
        "/alerts/unsilence",
    )
    shown = ("/badge/requests.svg", "/embed/requests")
    return sorted({*documented, *pages, *more, *shown, *_ODD})


def callers(stats: Stats) -> dict[str, dict[str, str]]:
    """Return the headers of each kind of caller."""
    read = tokens.create(stats.engine, "reader", "read")
    ingest = tokens.create(stats.engine, "sender", "ingest")
    operator = tokens.create(stats.engine, "jane", "operator")
    return {
        "nobody": {},
        "read": {"authorization": f"Bearer {read}"},
        "ingest": {"authorization": f"Bearer {ingest}"},
        "operator": {"authorization": f"Bearer {operator}"},
    }


def lines(stats: Stats) -> Iterator[str]:
    """Yield, for each path and method, what each kind of caller gets, kinds in a fixed order."""
    app: Any = stats.client.app
    client = TestClient(
        app, client=(_STRANGER, 50000), raise_server_exceptions=False, follow_redirects=False
    )
    kinds = callers(stats)
    yield "path method " + " ".join(kinds)
    for path in paths(stats):
        for method in METHODS:
            found = []
            for headers in kinds.values():
                response = client.request(method, f"http://testserver{path}", headers=headers)
                budget = response.headers.get("ratelimit-policy", "-").split(";")[0].strip('"')
                found.append(f"{response.status_code}{budget[0]}")
            yield f"{path} {method} {' '.join(found)}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/stats.db"
        engine = engines.create(url)
        migrate.upgrade(engine)
        engine.dispose()
        with Stats.on(url, Path(directory) / "spool", **OPTIONS) as stats:
            FILE.write_text("\n".join(lines(stats)) + "\n")
