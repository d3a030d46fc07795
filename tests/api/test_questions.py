"""Common features of statistics endpoints: time ranges, pages, CSV, caching, errors."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest

from asu_stats.exceptions import StoreUnavailableError
from tests.support import NOW, Stats, at, build, request

LISTS = ("versions", "targets", "profiles", "clients")
QUESTIONS = (*LISTS, "overview", "diff-packages", "errors", "performance", "timeseries")

Bad = tuple[str, str, str]
BAD_PARAMETERS: list[Bad] = [
    *(
        (question, f"days={value}", "days")
        for question in QUESTIONS
        for value in ("0", "3651", "-1", "x", "", "1.0", "+7", "1_000", "%207", "9" * 30)
    ),
    ("overview", "days=7&days=7", "days"),
    ("overview", "start=2026-09-31", "start"),
    ("overview", "start=20260930", "start"),
    ("overview", "start=1704067200", "start"),
    ("overview", "start=1969-12-31", "start"),
    ("overview", "end=9999-01-01", "end"),
    ("overview", "start=2026-09-30&end=2026-09-29", "start"),
    ("overview", "days=7&start=2026-09-01", "days"),
    ("versions", "limit=0", "limit"),
    ("versions", "limit=1001", "limit"),
    ("versions", "limit=99999999999999999999", "limit"),
    ("versions", "offset=-1", "offset"),
    ("versions", "format=xml", "format"),
    ("targets", f"version={'x' * 256}", "version"),
    ("timeseries", "interval=year", "interval"),
    ("timeseries", "client=a&target=b", "target"),
    ("timeseries", "interval=hour&days=91", "days"),
    ("timeseries", "interval=hour&start=2026-01-01&end=2026-01-02", "start"),
    ("timeseries", "interval=hour&days=3650", "days"),
    ("timeseries", "interval=hour&end=2026-01-01", "end"),
    ("timeseries", "start=1970-01-01&end=9998-12-31", "start"),
]


@pytest.mark.parametrize(("question", "query", "parameter"), BAD_PARAMETERS)
def test_bad_parameters_are_named(
    untouched: Stats, question: str, query: str, parameter: str
) -> None:
    answer = untouched.client.get(f"/api/v1/stats/{question}?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["title"] == "Unprocessable Content"
    assert problem["detail"].startswith(f"{parameter}=")
    assert problem["errors"][0]["loc"] == ["query", parameter]


def test_hours_that_are_gone_are_named_before_anything_else(sqlite_stats: Stats) -> None:
    for query in ("days=3650", "start=1970-01-01", "end=2026-01-01", "days=91"):
        answer = sqlite_stats.client.get(f"/api/v1/stats/timeseries?interval=hour&{query}")
        assert answer.status_code == 422
        parameter, _, value = query.partition("=")
        assert answer.json()["detail"] == (
            f"{parameter}={value}: expected a later start: hours are kept from 2026-07-03 on"
        )
    answer = sqlite_stats.client.get("/api/v1/stats/timeseries?interval=hour&days=90")
    assert len(answer.json()) == 90 * 24


def test_windows(stats: Stats) -> None:
    stats.record(request("h1", at("2026-09-01")), request("h2", at("2026-09-30")))

    def period(**params: object) -> tuple[Any, ...]:
        answer = stats.get("overview", **params)
        names = ("start", "end", "days", "data_since")
        return (*(answer["period"][name] for name in names), answer["totals"]["requests"])

    since = "2026-09-01"
    assert period() == ("2026-09-24", "2026-09-30", 7, since, 1)
    assert period(days=1) == ("2026-09-30", "2026-09-30", 1, since, 1)
    assert period(days=30) == ("2026-09-01", "2026-09-30", 30, since, 2)
    assert period(start="2026-08-01", end="2026-09-01")[3:] == (since, 1)
    assert period(start="2026-09-02") == ("2026-09-02", "2026-09-30", 29, since, 1)
    assert period(end="2026-09-05") == ("2026-08-30", "2026-09-05", 7, since, 1)
    assert len(stats.get("timeseries")) == 30


def test_midnight_moves_the_window(stats: Stats) -> None:
    stats.record(request("h1", at("2026-09-24 23:59:59")))
    assert stats.get("overview")["totals"]["requests"] == 1
    stats.now = at("2026-10-01 00:00:00")
    assert stats.get("overview")["totals"]["requests"] == 0


def test_two_clients_wait_for_one_build(stats: Stats) -> None:
    stats.record(
        request("h1", NOW - timedelta(minutes=2), client="luci/1"),
        request("h1", NOW - timedelta(minutes=1), client="owut/2", outcome="joined"),
        build("h1", "success"),
    )
    assert stats.get("overview")["totals"]["successful_builds"] == 1
    assert [row["successful_builds"] for row in stats.get("clients")] == [1, 1]


def test_a_wait_ends_with_the_first_end_at_or_after_it(stats: Stats) -> None:
    early, late = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    stats.record(request("h1", early - timedelta(minutes=1)), build("h1", "success", end=late))
    assert stats.get("clients")[0]["successful_builds"] == 1
    stats.record(build("h1", "failure", end=early))
    row = stats.get("clients")[0]
    assert (row["successful_builds"], row["failed_builds"]) == (0, 1)
    stats.record(request("h1", late, client="luci/2"))
    assert stats.get("clients")[0]["successful_builds"] == 1


def test_the_first_of_two_ends_holds(stats: Stats) -> None:
    started, ended = build("h1", "success", build_id="b1", seconds=30)
    _, second = build("h1", "failure", build_id="b1", end=NOW + timedelta(minutes=1))
    stats.record(second, started)
    assert stats.get("overview")["totals"]["failed_builds"] == 1
    stats.record(ended)
    totals = stats.get("overview")["totals"]
    assert (totals["successful_builds"], totals["failed_builds"]) == (1, 0)
    assert stats.get("errors")["total_errors"] == 0


def test_a_request_that_comes_late_names_its_build(stats: Stats) -> None:
    stats.record(build("h1", "failure", version="own", error_type="disk_full"))
    assert [row["version"] for row in stats.get("versions")] == ["own"]
    stats.record(request("h1", version="23.05.5"))
    assert [row["version"] for row in stats.get("versions")] == ["23.05.5"]
    assert stats.get("errors")["by_version"] == [{"version": "23.05.5", "errors": 1}]


@pytest.mark.parametrize("question", LISTS)
def test_pages(stats: Stats, question: str) -> None:
    stats.record(
        *(
            request(f"h{n}", version=f"v{n}", target=f"t{n}", profile=f"p{n}", client=f"c{n}")
            for n in range(7)
        )
    )
    url = f"/api/v1/stats/{question}"
    rows = stats.get(question)
    walked, query = [], "limit=3&days=30"
    while query:
        answer = stats.client.get(f"{url}?{query}")
        assert answer.headers["x-total-count"] == "7"
        walked += answer.json()
        links: dict[str, str] = {}
        for link in answer.headers["link"].split(", "):
            target, relation = link.split("; rel=")
            links[relation] = target
        following = links.get('"next"')
        query = following.strip("<>").partition("?")[2] if following else ""
        kept = f"<{url}?days=30&limit=3&"
        assert following is None or following.startswith(kept)
    assert walked == rows
    assert links['"prev"'] == f"<{url}?days=30&limit=3&offset=3>"
    assert links['"first"'].endswith("offset=0>")
    assert links['"last"'].endswith("offset=6>")
    assert stats.client.get(f"{url}?offset=50").json() == []


def test_links_to_pages_keep_what_was_asked(stats: Stats) -> None:
    stats.record(*(request(f"h{n}", version="\u00e9 +\ufffd", target=f"t{n}") for n in range(2)))
    url = "/api/v1/stats/targets"
    answer = stats.client.get(f"{url}?version=%C3%A9%20%2B%FF&limit=1")
    assert [row["target"] for row in answer.json()] == ["t0"]
    following = f'<{url}?version=%C3%A9%20%2B%FF&limit=1&offset=1>; rel="next"'
    assert following in answer.headers["link"].split(", ")


def test_queries_that_look_alike_are_told_apart(stats: Stats) -> None:
    names = [("1", "a"), ("1", "b"), ("1&limit=1", "a"), ("1&limit=1", "b")]
    stats.record(*(request(f"h{v}{t}", version=v, target=t) for v, t in names))
    one = stats.client.get("/api/v1/stats/targets?version=1&limit=1")
    other = stats.client.get("/api/v1/stats/targets?version=1%26limit%3D1")
    assert (len(one.json()), len(other.json())) == (1, 2)
    assert one.headers["etag"] != other.headers["etag"]


def test_csv_defuses_formulas(stats: Stats) -> None:
    evil = ['=1+2";x', "+1", "-1", "@x", "\uff1dx", "plain, with comma", "5"]
    stats.record(*(request(f"h{n}", version=name) for n, name in enumerate(evil)))
    answer = stats.client.get("/api/v1/stats/versions", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == (
        'attachment; filename="asu-stats-versions-2026-09-01_2026-09-30.csv"'
    )
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert '"\'=1+2"";x",1,' in answer.text
    assert answer.text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {row["version"] for row in rows} == {"'=1+2\";x", "'+1", "'-1", "'@x", "'\uff1dx"} | {
        "plain, with comma",
        "5",
    }
    assert rows[0]["success_rate"] == ""
    assert "top_targets" not in rows[0]


MEMBERS = {"diff-packages": "trend", "errors": "by_category", "performance": "by_version"}


@pytest.mark.parametrize("question", [*LISTS, "timeseries", *MEMBERS])
def test_csv_says_the_same_as_json(stats: Stats, question: str) -> None:
    stats.record(request("h1"), build("h1"), build("h2", "failure"))
    answer = stats.client.get(f"/api/v1/stats/{question}?format=csv")
    assert "Accept" in answer.headers["vary"].split(", ")
    rows = stats.get(question)
    rows = rows[MEMBERS[question]] if question in MEMBERS else rows
    assert rows or question == "packages"
    for line, row in zip(csv.DictReader(io.StringIO(answer.text)), rows, strict=True):
        flat = {k: v for k, v in row.items() if not isinstance(v, list)}
        assert line == {k: "" if v is None else str(v) for k, v in flat.items()}


def test_etag_holds_while_nothing_changes(stats: Stats) -> None:
    for question in QUESTIONS:
        url = f"/api/v1/stats/{question}"
        first = stats.client.get(url)
        etag = first.headers["etag"]
        assert etag.startswith('W/"')
        assert first.headers["cache-control"] == "no-cache"
        again = stats.client.get(url, headers={"If-None-Match": f'"other", {etag}'})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == etag
        assert stats.client.get(f"{url}?days=3").headers["etag"] != etag
    stats.record(request("h1"))
    assert stats.client.get(url, headers={"If-None-Match": etag}).status_code == 200
    etag = stats.client.get(url).headers["etag"]
    stats.now = stats.now + timedelta(days=1)
    assert stats.client.get(url, headers={"If-None-Match": etag}).status_code == 200


def test_clients_by_name(stats: Stats) -> None:
    stats.record(request("h1", client="luci/git-24"), request("h2", client=None))
    for path in ("luci", "luci/git-24", "luci%2Fgit-24", "%20luci%20"):
        assert stats.get(f"clients/{path}")["client"] == "luci"
    assert stats.get("clients/unknown")["total_requests"] == 1
    answer = stats.client.get("/api/v1/stats/clients/nobody")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


def test_a_client_is_found_by_what_was_sent(stats: Stats) -> None:
    for number, (sent, path, name) in enumerate(
        (
            ("\x01foo\x02/1", "%01foo", "foo"),
            ("a\nb/1", "a%0Ab", "a b"),
            ("a\nc", "a%0Ac/2%0A", "a c"),
            ("\x85/1", "%C2%85%0A/", "unknown"),
            ("d/e/f", "d/e/f", "d"),
        )
    ):
        stats.record(request(f"h{number}", client=sent))
        assert stats.get(f"clients/{path}")["client"] == name
        hits = sum(bucket["requests"] for bucket in stats.get("timeseries", client=sent))
        assert hits == 1, sent
    long = stats.client.get("/api/v1/stats/clients/" + "x" * 256)
    assert (long.status_code, long.json()["errors"][0]["loc"][1]) == (422, "client")


@pytest.mark.parametrize(
    "name",
    ['"', "\\", '\\"', "{a,b}", "NULL", "null", "a, b", "'", "%s", "\\x41", "é\u2028ß", "(1,2)"],
)
def test_names_come_out_as_they_came_in(stats: Stats, name: str) -> None:
    stats.record(
        request("h1", version=name, target=name, profile=name),
        *build("h1", "failure", error_category="build", error_type=name, error_message=name),
    )
    assert [row["version"] for row in stats.get("versions")] == [name]
    assert stats.get("versions")[0]["top_targets"] == [{"target": name, "requests": 1}]
    profile = name.replace(",", "_")  # a device has one spelling
    assert [row["profile"] for row in stats.get("profiles", version=name)] == [profile]
    assert [row["type"] for row in stats.get("errors/types")] == [name]
    assert [row["message"] for row in stats.get("errors/examples")] == [name]


def test_hostile_names_in_filters(stats: Stats) -> None:
    name = "' OR 1=1 --%"
    stats.record(request("h1", version=name), request("h2"))
    assert [row["requests"] for row in stats.get("targets", version=name)] == [1]
    assert stats.get("targets", version="%") == []
    assert stats.client.get("/api/v1/stats/targets?version=%FF%00").json() == []
    twice = stats.client.get("/api/v1/stats/targets?%FF%C3%A9=1&%FF%C3%A9=2")
    assert (twice.status_code, twice.json()["errors"][0]["loc"]) == (422, ["query", "\\udcffé"])
    unknown = stats.client.get("/api/v1/stats/clients/" + "\U0001f4a9" * 255)
    assert unknown.status_code == 404
    assert len(unknown.json()["detail"].encode()) <= 1024


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/api/v1/stats/overview", 405),
        ("DELETE", "/api/v1/stats/events", 405),
        ("GET", "/api/v1/stats/events", 405),
        ("PUT", "/healthz", 405),
        ("GET", "/static/../pyproject.toml", 404),
    ],
)
def test_every_error_is_a_problem(sqlite_stats: Stats, method: str, path: str, status: int) -> None:
    answer = sqlite_stats.client.request(method, path)
    assert answer.status_code == status
    problem = answer.json()
    assert problem["status"] == status
    assert isinstance(problem["detail"], str)
    assert problem["title"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/api/v1/build", 405),
        ("PUT", "/api/v1/build/abc", 405),
        ("GET", "/api/v1/build/abc/def", 404),
        ("POST", "/store/abc", 405),
    ],
)
def test_errors_of_the_build_api_are_plain_json(
    sqlite_stats: Stats, method: str, path: str, status: int
) -> None:
    answer = sqlite_stats.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["status"] == status


def test_internal_errors_too(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for path, media in (
        ("/api/v1/build/" + "0" * 64, "application/json"),
        ("/api/v1/stats/overview", "application/problem+json"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(type(sqlite_stats.engine), "connect", lambda _: 1 / 0)
            answer = sqlite_stats.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (500, media)
        assert answer.headers["access-control-allow-origin"] == "*"
    logged = [record.getMessage() for record in caplog.records if "problems" in record.name]
    assert logged == [
        "http: failed method=GET route=/api/v1/build/{request_hash}",
        "http: failed method=GET route=/api/v1/stats/overview",
    ]


@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("GET", "/api/v1/stats/nothing", "no such path"),
        ("DELETE", "/api/v1/stats/overview", "DELETE: expected one of GET, HEAD"),
        ("GET", "/api/v1/stats/events", "GET: expected one of POST"),
    ],
)
def test_wrong_paths_and_methods_are_explained(
    sqlite_stats: Stats, method: str, path: str, detail: str
) -> None:
    assert sqlite_stats.client.request(method, path).json()["detail"] == detail


def test_behind_a_prefix_the_build_api_is_still_itself(sqlite_prefixed: Stats) -> None:
    answer = sqlite_prefixed.client.delete("/api/v1/build")
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/json")


def test_what_is_allowed(sqlite_stats: Stats) -> None:
    for path, allowed in (
        ("/api/v1/stats/overview", "GET, HEAD"),
        ("/api/v1/build/abc", "GET, HEAD"),
        ("/static/style.css", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/api/v1/build", "POST"),
        ("/api/v1/stats/events", "POST"),
    ):
        answer = sqlite_stats.client.delete(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path


def test_no_description_says_its_summary_again(sqlite_stats: Stats) -> None:
    for methods in sqlite_stats.client.get("/openapi.json").json()["paths"].values():
        for operation in methods.values():
            assert not operation.get("description", "").startswith(f"{operation['summary']}.")


def test_common_headers_head_and_cors(sqlite_stats: Stats) -> None:
    client = sqlite_stats.client
    schema = client.get("/openapi.json").json()
    paths = [path for path, methods in schema["paths"].items() if "get" in methods]
    assert "/api/v1/stats/overview" in paths
    for path in [*paths, "/", "/docs", "/static/style.css", "/nowhere"]:
        got = client.get(path.replace("{client}", "x"), headers={"Origin": "https://a.example"})
        assert got.status_code < 500
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in got.headers["content-security-policy"]
        assert got.headers["access-control-allow-origin"] == "*"
        assert "ETag" in got.headers["access-control-expose-headers"]
        head = client.head(path.replace("{client}", "x"))
        assert (head.status_code, head.content) == (got.status_code, b"")
    preflight = client.options(
        "/api/v1/build",
        headers={
            "Origin": "https://firmware-selector.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-max-age"] == "86400"


def test_health(stats: Stats) -> None:
    assert stats.client.get("/healthz").json() == {"status": "ok"}
    ready = stats.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert stats.client.get("/api/v1/stats").json() == {"queue_length": 0}


def test_what_is_wrong_is_said_without_paths_and_names(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reason = "database: [Errno 13] Permission denied: '/srv/stats.db.lock'"

    def refuse(*_: object) -> None:
        raise StoreUnavailableError(reason)

    def ready() -> tuple[int, str]:
        answer = sqlite_stats.client.get("/readyz")
        assert int(answer.headers["retry-after"]) > 0
        return answer.status_code, answer.json()["detail"]

    with monkeypatch.context() as patch:
        patch.setattr("asu_stats.store.migrate.check", refuse)
        assert ready() == (503, "the database is unreachable; try again later")
    assert reason in caplog.text
    caplog.clear()
    monkeypatch.setattr(sqlite_stats.recorder, "_sink", refuse)
    monkeypatch.setattr(sqlite_stats.recorder, "_probe", refuse)
    assert sqlite_stats.post(request("h1")).status_code == 503
    assert ready() == (503, "events cannot be written now; events in the spool: 0")
    assert reason in caplog.text


def test_behind_a_proxy_with_a_prefix(sqlite_prefixed: Stats) -> None:
    sqlite_prefixed.record(request("h1", version="a"), request("h2", version="b"))
    answer = sqlite_prefixed.client.get("/api/v1/stats/versions?limit=1")
    assert "</stats/api/v1/stats/versions?limit=1&offset=1>" in answer.headers["link"]
