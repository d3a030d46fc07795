"""Query parameters are validated strictly: nothing is silently ignored."""

import pytest

from asu_stats.api import tokens
from tests.support import Stats, build, request

# The endpoints of the statistics that are read; the exceptions are listed.
LENIENT = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/builds-per-day",
    "/api/v1/diff-packages-stats",
    "/json/v1/overview.json",
)


def _refused(stats: Stats, url: str, parameter: str) -> str:
    answer = stats.client.get(url)
    assert answer.status_code == 422, (url, answer.text[:200])
    problem = answer.json()
    assert problem["errors"][0]["loc"] == ["query", parameter]
    detail: str = problem["detail"]
    assert detail.startswith(f"{parameter}=")
    return detail


def test_every_endpoint_refuses_what_it_does_not_know(sqlite_stats: Stats) -> None:
    token = tokens.create(sqlite_stats.engine, "jane", "operator")  # silences need it
    sqlite_stats.client.headers["Authorization"] = f"Bearer {token}"
    sqlite_stats.record(request("h1", client="luci/1"), build("h1", "failure"))
    (known,) = sqlite_stats.get("insights/fingerprints")["fingerprints"]
    paths = [
        path
        for path, methods in sqlite_stats.client.get("/openapi.json").json()["paths"].items()
        if path.startswith("/api/v1/stats") and "get" in methods
        if not methods["get"].get("deprecated")
    ]
    assert len(paths) >= 22
    for path in paths:
        url = path.replace("{client}", "luci").replace("{fingerprint}", known["fingerprint"])
        assert sqlite_stats.client.get(url).status_code == 200
        assert _refused(sqlite_stats, f"{url}?nonsense=1", "nonsense").endswith("format")
        assert "only one value" in _refused(
            sqlite_stats, f"{url}?format=json&format=json", "format"
        )
        assert sqlite_stats.client.get(f"{url}?format=json").status_code == 200
        _refused(sqlite_stats, f"{url}?format=xml", "format")
        _refused(sqlite_stats, f"{url}?=", "")


@pytest.mark.parametrize(
    ("url", "parameter", "nearest"),
    [
        ("overview?dyas=3", "dyas", "days"),
        ("overview?Days=3", "Days", "days"),
        ("overview?hour=24", "hour", "hours"),
        ("overview?hours=24&day=1", "day", "days"),
        ("targets?versoin=24.10.2", "versoin", "version"),
        ("targets?ofset=10", "ofset", "offset"),
        ("timeseries?intervall=week", "intervall", "interval"),
        ("clients/luci?limits=3", "limits", "limit"),
        ("performance?form=csv", "form", "format"),
        ("overview?days=3&%20days=4", " days", "days"),
    ],
)
def test_the_nearest_name_is_named(
    untouched: Stats, url: str, parameter: str, nearest: str
) -> None:
    detail = _refused(untouched, f"/api/v1/stats/{url}", parameter)
    assert detail.endswith(f"the nearest is {nearest}")


@pytest.mark.parametrize("question", ["overview", "overview?hours=3", "clients/luci", "now"])
def test_csv_that_is_not_there_is_refused(stats: Stats, question: str) -> None:
    stats.record(request("h1", client="luci/1"))
    joined = question + ("&" if "?" in question else "?") + "format=csv"
    detail = _refused(stats, f"/api/v1/stats/{joined}", "format")
    assert detail == "format=csv: expected json: this endpoint has no CSV"


def test_pictures_refuse_and_pages_ignore_what_they_do_not_know(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("h1"))
    get = sqlite_stats.client.get
    for url in ("/badge/requests.svg", "/embed/requests"):
        assert get(f"{url}?days=7&version=24.10.2").status_code == 200
        assert _refused(sqlite_stats, f"{url}?versoin=24.10.2", "versoin").endswith("version")
        _refused(sqlite_stats, f"{url}?days=7&days=30", "days")
    _refused(sqlite_stats, "/embed/versions?target=x86/64", "target")
    for url in ("/", "/versions", "/errors", "/performance", "/alerts"):
        answer = get(f"{url}?utm_source=x&days=7&days=7", headers={"Accept": "text/html"})
        assert answer.status_code == 200


def test_what_other_programs_ask_for_is_answered_as_before(sqlite_stats: Stats) -> None:
    for url in LENIENT:
        assert sqlite_stats.client.get(f"{url}?cache_buster=1").status_code == 200, url
    event = request("h1")
    answer = sqlite_stats.post([event], params={"from": "proxy"})
    assert answer.status_code == 200


def test_badges_of_names_are_figures_of_lists(stats: Stats) -> None:
    stats.record(
        request("h1", version="a", profile="p"),
        build("h1"),
        request("h2", version="b", profile="p", outcome="cache_hit"),
    )
    for query, words in (
        ("version=a", "1"),
        ("profile=p", "2"),
        ("profile=p&version=b", "1"),
        ("version=none", "0"),
    ):
        text = stats.client.get(f"/badge/requests.svg?{query}").text
        assert f">{words}<" in text, query
    assert "100%" in stats.client.get("/badge/success-rate.svg?version=a").text
    assert "no builds" in stats.client.get("/badge/success-rate.svg?version=none").text
