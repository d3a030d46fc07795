"""Writes the examples of the OpenAPI document: responses to a short fixed history.

Run it with `make docs`.
"""

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from asu_stats.reports.endpoints import REPORTS
from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from tests.support import NOW, CloudEvent, Stats, build, cloudevent, request

FILE: Final = Path(__file__).parents[1] / "src" / "asu_stats" / "data" / "examples.json"
_SHOWN: Final = 3  # entries of a list
_HASH: Final = "{:02x}06d0a9f34059081de18f0868df54266a2f65a50f92e8ba60ce1a4ee066388e"
_BUILD: Final = "01{:02x}f3a2-9a3f-7aa0-8f2b-c4de10b97715"
_X86: Final[dict[str, Any]] = {"version": "24.10.2", "target": "x86/64", "profile": "generic"}
_OLD: Final[dict[str, Any]] = {
    "version": "23.05.5",
    "target": "mediatek/filogic",
    "profile": "glinet_gl-mt6000",
    "client": "owut/2026.7.8",
    "diff_packages": False,
}
_PACKAGES: Final[dict[str, Any]] = {"packages": ["luci", "luci-app-sqm", "wpad-basic-mbedtls"]}
_WISHES: Final[dict[str, Any]] = {
    "package_count": 143,
    "has_custom_repos": False,
    "has_defaults": True,
    "rootfs_size_mb": 512,
}


def history() -> list[CloudEvent]:
    """Return requests and builds of two weeks: successes, cache hits, failures, a rejection."""
    found: list[CloudEvent] = []

    def add(
        number: int, days: int, status: str, seconds: int, hours: float = 2, **data: Any
    ) -> None:
        request_hash, end = _HASH.format(number), NOW - timedelta(days=days, hours=hours)
        begin = end - timedelta(seconds=seconds + 8)
        ending = data.pop("ending", {})
        found.append(request(request_hash, begin, **_PACKAGES, **_WISHES, **data))
        if status == "success":
            later = end + timedelta(minutes=20)
            found.append(request(request_hash, later, outcome="cache_hit", **data))
            ending = {"duration_seconds": seconds}
        build_id = _BUILD.format(number)
        found.extend(
            build(request_hash, status, end=end, seconds=seconds, build_id=build_id, **ending)
        )

    missing = {
        "error_category": "build",
        "error_type": "package_not_found",
        "error_message": "Impossible package selection: missing (luci-app-foo)",
    }
    for number, days in enumerate((0, 0, 1, 7, 8, 14)):
        add(number, days, "success", 95 + 10 * number)
    add(9, 2, "success", 120, hours=11.5)  # Monday, 00:30
    add(10, 0, "success", 61, **_X86, client="luci/25.1")
    add(11, 1, "failure", 33, **_OLD, ending=missing)
    add(12, 0, "failure", 41, **_OLD, ending=missing)
    rejected = {
        "outcome": "rejected",
        "error_category": "request",
        "error_type": "unsupported_version",
        "error_message": "Unsupported version: 19.07.10",
    }
    found.append(request(_HASH.format(20), NOW - timedelta(hours=1), **_OLD | rejected))
    running = {"build_id": _BUILD.format(30), "request_hash": _HASH.format(30), "worker_id": "w1"}
    found.append(request(_HASH.format(30), NOW - timedelta(seconds=50), **_OLD))
    found.append(cloudevent("build.started", NOW - timedelta(seconds=42), running))
    found.append(request(_HASH.format(31), NOW - timedelta(seconds=9), **_X86))
    return found


def written(stats: Stats) -> str:
    """Return the examples, made by an empty server; lists are cut to their first entries."""
    stats.record(history())
    paths = {report.name: report.name.format(**report.example) for report in REPORTS}
    queries = {
        report.name: {
            name: value
            for name, value in report.example.items()
            if report.subject is None or name != report.subject.name
        }
        for report in REPORTS
    }
    found = {name: _cut(stats.get(path, **queries[name])) for name, path in paths.items()}
    found["now"] = _cut(stats.get("now"))
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _cut(value: Any) -> Any:
    if isinstance(value, list):
        return [_cut(entry) for entry in value[:_SHOWN]]
    if isinstance(value, dict):
        return {name: _cut(member) for name, member in value.items()}
    return value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/stats.db"
        engine = engines.create(url)
        migrate.upgrade(engine)
        engine.dispose()
        with Stats.on(url, Path(directory) / "spool") as stats:
            FILE.write_text(written(stats), encoding="utf-8")
