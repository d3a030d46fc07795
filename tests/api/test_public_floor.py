"""The public floor: names with few requests need a read token."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from httpx2 import Response

from asu_stats.api import tokens
from asu_stats.dashboard.badges import BADGES
from asu_stats.dashboard.embeds import EMBEDS
from asu_stats.monitor import state
from asu_stats.monitor.evaluate import Alert, Incident
from asu_stats.monitor.state import StoredIncident
from asu_stats.store.database.engine import write_transaction
from tests.conftest import postgresql_database, sqlite_database
from tests.support import NOW, CloudEvent, Stats, build, request

FLOOR: Final = 4
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
HTML: Final = {"accept": "text/html"}
# At most three requests have each of these, so a floor of 4 hides them.
VERSION, TARGET, PROFILE = "99.1.7-sentinelv", "sentinelt/generic", "sentinelp_one"
CLIENT, CLIENT_VERSION, PACKAGE = "sentinelc", "sentinelw-5", "kmod-sentinelk"
RELEASE: Final = "98.7.6"  # rare and first asked for in the time range: an annotation
TEXT: Final = f"sentineltext: the sentinelword broke {PACKAGE}"
MISSING: Final = f"Impossible package selection: missing ({PACKAGE})"
ALL: Final = {
    "version": VERSION,
    "target": TARGET,
    "profile": PROFILE,
    "client": f"{CLIENT}/{CLIENT_VERSION}",
    "packages": [PACKAGE, "luci"],
}
SECRETS: Final = ("sentinel", RELEASE, "feed5ec3e7", "sentine1")
FILTERS: Final = {"version": VERSION, "target": TARGET, "profile": PROFILE, "client": CLIENT}
WINDOWS: Final = ("days=30", "days=1", "start=2026-09-01&end=2026-09-29", "days=3650")


def failed(request_hash: str, message: str, **names: Any) -> list[CloudEvent]:
    end = build(request_hash, "failure", end=NOW - HOUR, error_message=message)
    return [request(request_hash, NOW - 2 * HOUR, **names), *end]


def history() -> Iterator[CloudEvent | list[CloudEvent]]:
    """Yield many requests for one device, three for another, and two of each rare name."""
    early = NOW - 3 * DAY
    for number in range(8):
        yield request(f"c{number}", early, packages=["luci", "vim"], profile="common")
        yield build(f"c{number}", end=early + HOUR, seconds=60 + number)
    for number in range(4):
        yield failed(f"f{number}", "No space left on device", profile="common", packages=["vim"])
        yield failed(f"m{number}", "Impossible package selection: missing (vim)", profile="common")
    for number in range(FLOOR):
        yield request(f"e{number}", early, profile="edge", client="auc/1")
        yield build(f"e{number}", end=early + HOUR)
    # The slowest build, one that runs, one that was asked for twice: all rare.
    yield request("feed5ec3e7-slow", early, **ALL)
    yield build("feed5ec3e7-slow", end=early + HOUR, seconds=3000, build_id="sentine1")
    yield request("feed5ec3e7-slow", NOW - HOUR, **{**ALL, "packages": [], "outcome": "cache_hit"})
    # Errors of rare names, with texts of their own and with one that many have.
    device = {"version": VERSION, "target": TARGET, "profile": PROFILE}
    for number, message in enumerate((TEXT, MISSING, "No space left on device")):
        for name in device:
            names = {"version": "24.10.2", "target": "ath79/generic", "profile": "common"}
            data: dict[str, Any] = {**names, name: device[name], "error_message": message}
            yield build(f"feed5ec3e7-{number}{name}", "failure", end=NOW, **data)
    rejected = {**ALL, "outcome": "rejected", "error_message": TEXT}
    for number in range(FLOOR - 1):
        yield request("feed5ec3e7-storm", NOW - number * HOUR, **rejected)
    for number in range(12):
        yield request("feed5ec3e7-again", NOW - number * HOUR / 60, **rejected)
    yield request("feed5ec3e7-new", NOW - 2 * DAY, version=RELEASE, profile="common")
    running = request("feed5ec3e7-runs", NOW - HOUR / 6, version=VERSION, profile="common")
    yield [running, build("feed5ec3e7-runs", build_id="sentine1-2", end=NOW)[0]]


def incident() -> StoredIncident:
    subject = (("client", CLIENT), ("version", VERSION))
    share = {"name": PACKAGE, "percentage": 90.0}
    example = {
        "request_hash": "feed5ec3e7",
        "version": VERSION,
        "target": TARGET,
        "profile": PROFILE,
        "error_type": None,
        "message": TEXT,
        "duration_seconds": 5,
    }
    cause: dict[str, Any] = {
        "count": 3,
        "error_type": None,
        "package": share,
        "version": None,
        "target": None,
    }
    cause |= {"client": {"name": CLIENT, "percentage": 70.0}, "examples": [example]}
    report = {
        "title": f"Low success rate: client {CLIENT}, version {VERSION}",
        "text": "1% of 9 builds succeeded",
        "rules": ["success_rate_low"],
        "cause": cause,
    }
    opened = Incident("i1", "failures", "success_rate_low", subject, "warning", NOW - HOUR, None)
    return StoredIncident(opened, report, NOW)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stats(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    """A service with a floor, and a read token in `reader`."""
    directory = tmp_path_factory.mktemp("floor")
    urls = (
        iter([sqlite_database(request, directory)])
        if request.param == "sqlite"
        else postgresql_database(request)
    )
    for url in urls:
        with Stats.on(url, directory / "spool", public_floor=FLOOR) as stats:
            fill(stats)
            yield stats


def fill(stats: Stats) -> None:
    stats.record(*history())
    with write_transaction(stats.engine) as connection:
        state.write_incident(connection, incident())
        alert = Alert(
            "client_failures_high", (("client", CLIENT),), "firing", NOW - HOUR, 90.0, 90.0, 9
        )
        state.write_alerts(connection, [alert])


@pytest.fixture(scope="module")
def reader(stats: Stats) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.create(stats.engine, 'reader', 'read')}"}


def addresses(stats: Stats, *windows: str) -> list[str]:
    """Return addresses of all routes that can be read, in every format, and of details."""
    app: Any = stats.client.app
    documented = stats.client.get("/openapi.json").json()["paths"]
    names = {"client": "luci", "fingerprint": _fingerprint(stats), "request_hash": "c1"}
    found = [f"/clients?client={CLIENT}", f"/profiles?profile={PROFILE}&days=30"]
    for route in app.state.policies.routes:
        if "GET" not in route.methods or route.template.startswith("/static"):
            continue
        kinds = [*BADGES] if "/badge/" in route.template else [*EMBEDS]
        for name in kinds if "{name}" in route.template else [""]:
            given = {**names, "name": name}
            path = route.template
            for each in re.findall(r"\{(\w+)\}", path):
                path = path.replace(f"{{{each}}}", given.get(each, "x"))
            accepted = documented.get(route.template, {}).get("get", {}).get("parameters", ())
            of_page = "text/html" if not route.documented else ""
            formats = ["format=csv"] if any("csv" in str(each) for each in accepted) else []
            is_timed = of_page or any(each["name"] == "days" for each in accepted)
            for window in windows if is_timed else ("",):
                found += [f"{path}?{window}", *(f"{path}?{window}&{each}" for each in formats)]
    return found


def _fingerprint(stats: Stats) -> str:
    rows = stats.get("insights/fingerprints", days=30)["fingerprints"]
    return next(str(row["fingerprint"]) for row in rows if row["fingerprint"] != "other")


def get(stats: Stats, address: str, headers: dict[str, str] | None = None) -> Response:
    return stats.client.get(address, headers=headers or {}, follow_redirects=False)


def leaked(response: Response) -> list[str]:
    """Return the secrets that a response contains, in its body or its headers."""
    text = f"{response.text}\n{response.headers}".casefold()
    return [secret for secret in SECRETS if secret in text]


PARTS: Final = (VERSION, TARGET, PROFILE, CLIENT, CLIENT_VERSION, PACKAGE, "sentineltext")


def test_nobody_sees_rare_names(stats: Stats) -> None:
    every = addresses(stats, "days=30")
    assert len(every) > 90
    leaks = {}
    for address in every:
        response = get(stats, address)
        expected = {401} if "/alerts/silences" in address else {200, 307, 404, 422}
        assert response.status_code in expected, (address, response.text)
        if found := leaked(response):
            leaks[address] = found
    assert leaks == {}


def test_readers_see_all_names(stats: Stats, reader: dict[str, str]) -> None:
    seen = set()
    for path in ("now", "profiles", "targets", "packages", "errors/examples", f"clients/{CLIENT}"):
        text = get(stats, f"/api/v1/stats/{path}", reader).text
        seen |= {part for part in PARTS if part in text}
    assert seen == {*PARTS}


def test_totals_are_those_that_readers_see(stats: Stats, reader: dict[str, str]) -> None:
    for report in ("versions", "targets", "profiles", "clients", "errors", "insights/failures"):
        public, private = both(stats, reader, report)
        for member in ("requests", "total_requests", "cache_hits", "successful_builds"):
            assert sums(public, member) == sums(private, member), (report, member)
    for report in ("overview", "timeseries", "diff-packages", "performance", "comparison"):
        public, private = both(stats, reader, report)
        assert numbers(public) == numbers(private), report
    public, private = both(stats, reader, "errors")
    assert public["total_errors"] == private["total_errors"]
    assert sums(public["by_version"], "errors") == sums(private["by_version"], "errors")
    public, private = both(stats, reader, "insights/fingerprints")
    assert sums(public["fingerprints"], "count") == sums(private["fingerprints"], "count")
    public, private = both(stats, reader, "insights/packages")
    assert sums(public["packages"], "failures") == sums(private["packages"], "failures")


def both(stats: Stats, reader: dict[str, str], report: str) -> tuple[Any, Any]:
    address = f"/api/v1/stats/{report}?days=30"
    return get(stats, address).json(), get(stats, address, reader).json()


def sums(rows: Any, member: str) -> int:
    if isinstance(rows, dict):
        rows = [row for part in rows.values() if isinstance(part, list) for row in part]
    return sum(row.get(member) or 0 for row in rows)


def numbers(response: Any) -> Any:
    """Return a response without lists of names."""
    if isinstance(response, dict):
        left_out = ("top_5", "by_version", "by_version_total", "slowest_builds")
        return {k: numbers(v) for k, v in response.items() if k not in left_out}
    return [numbers(row) for row in response] if isinstance(response, list) else response


def test_few_requests_are_added_up_and_enough_are_shown(
    stats: Stats, reader: dict[str, str]
) -> None:
    public, private = (
        {row["profile"]: row for row in rows} for rows in both(stats, reader, "profiles")
    )
    assert public.keys() == {"common", "edge", "other"}
    assert public["edge"] == private["edge"]
    assert public["edge"]["requests"] == FLOOR
    hidden = [row for name, row in private.items() if name not in public]
    other = public["other"]
    for member in ("requests", "cache_hits", "successful_builds", "failed_builds"):
        assert other[member] == sum(row[member] for row in hidden)
    assert other["avg_build_duration"] == 3000.0
    targets = {row["target"]: row for row in both(stats, reader, "targets")[0]}
    assert targets["other"]["top_profiles"] == [{"profile": "other", "requests": 2}]
    assert targets["other"]["unique_profiles"] == 1
    clients = {row["client"]: row for row in both(stats, reader, "clients")[0]}
    assert clients["other"]["top_versions"] == [{"version": "other", "requests": 2}]
    assert clients["other"]["unique_builds"] is None
    assert clients["other"]["rejected_requests"] == 12 + FLOOR - 1


def test_pages_of_a_list_are_parts_of_the_same_list(stats: Stats) -> None:
    whole = stats.get("profiles", days=30)
    parts = [stats.get("profiles", days=30, limit=1, offset=n)[0] for n in range(len(whole))]
    assert parts == whole
    assert [row["requests"] for row in whole] == sorted(
        (r["requests"] for r in whole), reverse=True
    )


@pytest.mark.parametrize(
    "filters",
    [
        {"version": VERSION},
        {"target": TARGET},
        {"profile": PROFILE},
        {"client": CLIENT},
        {"version": VERSION, "target": TARGET},
        {"version": "24.10.2", "target": TARGET},
        {"version": VERSION, "profile": "common"},  # both are shown, but not together
        {"version": RELEASE, "profile": "common", "client": "luci"},
    ],
)
def test_rare_names_are_answered_like_names_that_nobody_has(
    stats: Stats, filters: dict[str, str]
) -> None:
    documented = stats.client.get("/openapi.json").json()["paths"]
    tried = 0
    for path, methods in documented.items():
        accepted = {each["name"] for each in methods.get("get", {}).get("parameters", ())}
        if path.startswith("/api/v1/stats/insights/warmup") or not filters.keys() <= accepted:
            continue
        nobody = {**filters, next(iter(filters)): "nobody"}
        rare = stats.client.get(path, params={**filters, "days": "30"})
        none = stats.client.get(path, params={**nobody, "days": "30"})
        assert (rare.status_code, said(rare)) == (none.status_code, said(none)), path
        tried += rare.status_code == 200
    assert tried or len(filters) > 1


def said(response: Response) -> str:
    """Return a response without what it repeats of the query."""
    return re.sub(r"(version|target|profile|client)=\S+:", "", response.text)


def test_details_of_rare_names_are_unknown(stats: Stats, reader: dict[str, str]) -> None:
    private = get(stats, "/api/v1/stats/insights/fingerprints?days=30", reader).json()
    rare = [row["fingerprint"] for row in private["fingerprints"] if row["pattern"] in TEXT.lower()]
    unread = [row for row in private["fingerprints"] if row["count"] < FLOOR]
    assert unread
    for row in unread:
        address = f"/api/v1/stats/insights/fingerprints/{row['fingerprint']}?days=30"
        assert get(stats, address).status_code == 404
        assert get(stats, address, reader).status_code == 200
    assert get(stats, f"/api/v1/stats/clients/{CLIENT}").status_code == 404
    assert get(stats, f"/api/v1/stats/clients/{CLIENT}", reader).status_code == 200
    assert rare or unread


def test_caches_keep_callers_apart(stats: Stats, reader: dict[str, str]) -> None:
    for address in ("/api/v1/stats/profiles?days=29", "/api/v1/stats/profiles?days=29&format=csv"):
        kinds = [get(stats, address, headers) for headers in ({}, reader, {}, reader)]
        assert [bool(leaked(response)) for response in kinds] == [False, True, False, True]
        public, private = kinds[0].headers["etag"], kinds[1].headers["etag"]
        assert public != private
        assert {"Authorization", "Cookie"} <= {*kinds[0].headers["vary"].split(", ")}
        crossed = get(stats, address, {"if-none-match": private})
        assert (crossed.status_code, leaked(crossed)) == (200, [])
        assert get(stats, address, {"if-none-match": public}).status_code == 304
        assert get(stats, address, {**reader, "if-none-match": public}).status_code == 200
        head = stats.client.head(address)
        assert int(head.headers["content-length"]) == len(kinds[0].content)


def test_invalid_and_other_tokens_see_what_nobody_sees(stats: Stats) -> None:
    ingest = tokens.create(stats.engine, "sender", "ingest")
    for token in ("wrong", ingest):
        response = get(stats, "/api/v1/stats/profiles", {"authorization": f"Bearer {token}"})
        assert (response.status_code, leaked(response)) == (200, [])


def test_signed_in_people_see_all(stats: Stats) -> None:
    token = tokens.create(stats.engine, "person", "read")
    given = {"token": token, "next": "/"}
    signed = stats.client.post("/sign-in", data=given, follow_redirects=False)
    assert signed.status_code == 303
    stats.client.cookies.clear()
    cookie = {"cookie": signed.headers["set-cookie"].partition(";")[0]}
    page = get(stats, "/profiles?days=30", {**cookie, **HTML})
    assert PROFILE in page.text
    assert "Sign out" in page.text
    assert PROFILE in get(stats, "/api/v1/stats/profiles?days=30", cookie).text
    assert "Sign in" in get(stats, "/profiles?days=30", HTML).text
    broken = {"cookie": cookie["cookie"][:-1] + "x", **HTML}
    assert leaked(get(stats, "/profiles?days=30", broken)) == []


def test_live_messages_name_what_the_caller_may_see(stats: Stats, reader: dict[str, str]) -> None:
    address = "/api/v1/stats/live"
    with (
        stats.client.websocket_connect(address, headers={**reader}) as private,
        stats.client.websocket_connect(address) as public,
    ):
        assert VERSION in private.receive_text()
        assert "sentinel" not in public.receive_text()
        stats.record(request("live-1", profile="common"))
        assert VERSION in private.receive_text()
        message = public.receive_text()
        assert "sentinel" not in message
        assert '"other"' in message


def test_legacy_endpoints_of_the_other_shape_too(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"public_floor": FLOOR, "legacy_shape": "upstream"}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        fill(stats)
        for path in ("builds-by-version", "builds-by-version?branch=9", "top-packages"):
            response = get(stats, f"/api/v1/{path}")
            assert (response.status_code, leaked(response)) == (200, [])
        errors = get(stats, "/api/v1/build-errors?n=100")
        assert leaked(errors) == []
        assert "no space left on device" in errors.text
        assert ":other:" in errors.text


def test_without_a_floor_nothing_changes(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with Stats.on(sqlite_database(request), tmp_path / "spool") as stats:
        stats.record(request_of(PROFILE))
        response = get(stats, "/api/v1/stats/profiles")
        assert [row["profile"] for row in response.json()] == [PROFILE]
        assert "Cookie" not in response.headers["vary"]
        assert get(stats, "/sign-in", HTML).status_code == 200


def request_of(profile: str) -> CloudEvent:
    return request("h1", profile=profile)


LABEL: Final[dict[str, dict[str, str]]] = {  # otherwise a badge says what it is about
    "/badge/requests.svg": {"label": "x"},
    "/badge/success-rate.svg": {"label": "x"},
}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/badge/requests.svg", "profile"),
        ("/badge/success-rate.svg", "version"),
        ("/embed/requests", "client"),
        ("/embed/durations", "version"),
        ("/profiles", "profile"),
        ("/targets", "version"),
        ("/clients", "client"),
        ("/insights", "target"),
        ("/performance", "version"),
    ],
)
def test_pages_and_badges_say_the_same_of_rare_names_and_of_none(
    stats: Stats, path: str, name: str
) -> None:
    rare, none = (
        stats.client.get(path, params={name: value, "days": "30", **LABEL.get(path, {})})
        for value in (FILTERS[name], "nobody")
    )
    assert rare.status_code == none.status_code
    assert rare.text.replace(FILTERS[name], "nobody") == none.text
