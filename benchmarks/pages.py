"""What the first view of the overview costs: time on the server, and bytes over the wire.

A real server on the database; the page is asked for as a browser does, then all that it asks for.
`first` is the first request to a fresh process that says it is ready, the median of five processes.
`changed` comes after a write made every answer stale, `again` is the rest. `reports` is the time of
`/healthz` and of all reports of the page, also after a write, in turns with the page. `question` is
the first report instead of the first page.
"""

import gzip
import http.client
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks import databases, stream
from benchmarks.data import LAST_DAY, Plan
from benchmarks.report import Results, Table, Target
from benchmarks.servers import TOKEN, body, serving

ROUNDS: Final = 15
DAYS: Final = (7, 30, 365)
_SERVERS: Final = 5
_MOST_BYTES: Final = 400_000
_MOST_FIRST_MS: Final = 1_500.0
_MOST_OF_REPORTS: Final = 3.0
_MOST_FIRST_PAGE: Final = 5.0
_MOST_FIRST_QUESTION: Final = 20.0
_REPORTS: Final = (
    "overview",
    "comparison",
    "timeseries",
    "performance/timeseries",
    "versions",
    "targets",
    "profiles",
    "clients",
    "errors",
    "annotations",
)
_SOURCE: Final = re.compile(r'(?:src|href)="(/static/[^"]+)"')
_IMPORT: Final = re.compile(r'(?:from|import|import\()\s*"\./([^"]+)"')
_DATA: Final = re.compile(r'data-source="([^"]+)"')


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[float, int, str]:
    """Return milliseconds, bytes as they were sent, and the text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Accept-Encoding": "gzip", **(headers or {})})
    answer = connection.getresponse()
    content = answer.read()
    took = (time.perf_counter() - begun) * 1000
    assert answer.status == 200, (path, answer.status)
    zipped = answer.headers.get("Content-Encoding") == "gzip"
    connection.close()
    return took, len(content), (gzip.decompress(content) if zipped else content).decode()


def weight(port: int, page: str) -> dict[str, int]:
    """Return the bytes of a page and of all that it asks for."""
    _, size, text = get(port, page, {"Accept": "text/html"})
    found = {"page": size}
    waiting = _SOURCE.findall(text)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        _, found[path], content = get(port, path)
        if path.endswith(".js") and "/vendor/" not in path:
            base = path.rsplit("/", 1)[0]
            waiting += [f"{base}/{name}" for name in _IMPORT.findall(content)]
    for source in _DATA.findall(text):
        path = source.replace("&amp;", "&")
        _, found[path], _ = get(port, path)
    return found


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on a copy of the database of `size`."""
    prepared = databases.prepare(keep, size, with_raw=False)
    directory = Path(tempfile.mkdtemp(prefix="pages-", dir=keep))
    try:
        file = databases.copy(prepared, directory, "server")
        writes = stream.extra_events(Plan(size, extra=3 * ROUNDS * len(DAYS)))
        result: dict[str, Any] = {}
        for days in DAYS:
            databases.progress(f"pages: {days} days")
            start = LAST_DAY.fromordinal(LAST_DAY.toordinal() - days + 1)
            window = f"start={start}&end={LAST_DAY}"
            page = f"/?{window}"
            url = f"sqlite:///{file}"
            question = _first(url, f"/api/v1/stats/overview?{window}")
            first = _first(url, page)
            with serving(url) as (port, _):
                again = [get(port, page)[0] for _ in range(ROUNDS)]
                changed, reports, asked = [], [], []
                for _ in range(ROUNDS):
                    _post(port, body([writes.pop(0)]))
                    changed.append(get(port, page)[0])
                    _post(port, body([writes.pop(0)]))
                    paths = [f"/api/v1/stats/{name}?{window}" for name in _REPORTS]
                    paths += ["/api/v1/stats/now", "/api/v1/stats/alerts", "/healthz"]
                    reports.append(sum(get(port, path)[0] for path in paths))
                    _post(port, body([writes.pop(0)]))
                    asked.append(get(port, paths[0])[0])
                result[str(days)] = {
                    "first_ms": first,
                    "again_ms": statistics.median(again),
                    "changed_ms": statistics.median(changed),
                    "reports_ms": statistics.median(reports),
                    "first_question_ms": question,
                    "question_ms": statistics.median(asked),
                    "bytes": weight(port, page),
                }
    finally:
        shutil.rmtree(directory)
    results.add("pages", result, _tables(result), _targets(result))


def _first(url: str, path: str) -> float:
    """Return milliseconds of the first request to a server that says it is ready."""
    found = []
    for _ in range(_SERVERS):
        with serving(url) as (port, _):
            found.append(get(port, path, {"Accept": "*/*"})[0])
    return statistics.median(found)


def _post(port: int, events: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", "/api/v1/stats/events", events, headers)
    assert connection.getresponse().status == 200
    connection.close()


def _tables(result: dict[str, Any]) -> list[Table]:
    def kilobytes(of: Mapping[str, int], part: str) -> float:
        return sum(size for path, size in of.items() if part in path) / 1000

    return [
        Table(
            "First view of the overview: milliseconds, and kB over the wire",
            (
                *("days", "first", "after a change", "its reports", "again", "first report"),
                *("report", "page", "scripts", "chart data", "all"),
            ),
            [
                (
                    int(days),
                    one["first_ms"],
                    one["changed_ms"],
                    one["reports_ms"],
                    one["again_ms"],
                    one["first_question_ms"],
                    one["question_ms"],
                    one["bytes"]["page"] / 1000,
                    kilobytes(one["bytes"], "/static/"),
                    kilobytes(one["bytes"], "/api/"),
                    sum(one["bytes"].values()) / 1000,
                )
                for days, one in result.items()
            ],
            "Scripts, with style sheet and icon, come once and are kept for ever.",
        )
    ]


def _targets(result: dict[str, Any]) -> list[Target]:
    most = max(sum(one["bytes"].values()) for one in result.values())
    return [
        Target("pages", "bytes of the first view", most, "at most", _MOST_BYTES),
        Target("pages", "first view, ms", result["7"]["first_ms"], "at most", _MOST_FIRST_MS),
        *(
            Target("pages", f"{name}, {days} days", one[part] / one[whole], "at most", bound)
            for days, one in result.items()
            for name, part, whole, bound in (
                ("page after a change ÷ its reports", "changed_ms", "reports_ms", _MOST_OF_REPORTS),
                ("first page ÷ warm", "first_ms", "again_ms", _MOST_FIRST_PAGE),
                (
                    "first report ÷ after a change",
                    "first_question_ms",
                    "question_ms",
                    _MOST_FIRST_QUESTION,
                ),
            )
        ),
    ]
