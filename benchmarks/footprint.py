"""What the program takes: sizes of packages, installed sizes, time to start, memory.

The packages of an extra are those that it needs beyond the extra `server`, with the sizes that they
have in this environment, compiled modules included. The program itself is measured if `dist/`
contains it (`make dist`).
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from statistics import median
from typing import Any, Final

from packaging.requirements import Requirement

from benchmarks import databases
from benchmarks.report import Results, Table
from benchmarks.servers import call, post, serving
from benchmarks.timing import resident_mib

SECONDS: Final = 20.0
STARTS: Final = 5
_DIST: Final = Path(__file__).parents[1] / "dist"
_EXTRAS: Final = ("server", "postgresql", "redis", "alerts", "parquet", "all")
_CLIENTS: Final = 4
_PATHS: Final = (
    "/",
    "/versions?days=90",
    "/api/v1/stats/overview?days=30",
    "/api/v1/stats/profiles?days=365",
    "/api/v1/stats/errors?days=30&format=csv",
    "/api/v1/stats/timeseries?interval=day&days=90",
)


def run(results: Results, keep: Path, size: int) -> None:
    """Measure the packages, and a server on a copy of the SQLite database of `size`."""
    databases.progress("footprint: packages")
    result: dict[str, Any] = {"extras": _extras(), **_packages()}
    prepared = databases.prepare(keep, size, with_raw=False)
    with tempfile.TemporaryDirectory(prefix="footprint-", dir=keep) as name:
        url = f"sqlite:///{databases.copy(prepared, Path(name), 'served')}"
        databases.progress("footprint: starts")
        starts = [_start_seconds(url) for _ in range(STARTS)]
        result["start_seconds"] = median(seconds for seconds, _ in starts)
        result["start_processor_seconds"] = median(processor for _, processor in starts)
        databases.progress("footprint: memory")
        result["memory_mib"] = _memory(url)
    results.add("footprint", result, _tables(result, size), ())


def _extras() -> dict[str, dict[str, float]]:
    """Return number and MB of the packages of each extra."""
    of_server = _closure("asu-stats", "server")
    found = {}
    for extra in _EXTRAS:
        names = _closure("asu-stats", extra)
        if extra not in {"server", "all"}:
            names -= of_server
        found[extra] = {"packages": len(names), "mb": sum(map(_installed_mb, names))}
    return found


def _closure(name: str, extra: str) -> set[str]:
    """Return the names of the packages that an extra of a package needs, directly or not."""
    found: set[str] = set()
    for text in distribution(name).requires or ():
        needed = Requirement(text)
        if needed.marker and not needed.marker.evaluate({"extra": extra}):
            continue
        for further in needed.extras or {""}:
            found |= _closure(needed.name, further)
        if needed.name != "asu-stats":
            found.add(needed.name.lower().replace("_", "-"))
    return found


def _installed_mb(name: str) -> float:
    paths = (Path(str(each.locate())) for each in distribution(name).files or ())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def _packages() -> dict[str, Any]:
    """Return the sizes of wheel and sdist, and of the installed wheel and its manual, in MB.

    Nothing without `dist/`.
    """
    wheels, sdists = (sorted(_DIST.glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    if not wheels or not sdists:
        return {}
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--target", directory, str(wheels[-1])], check=True)
        files = [path for path in Path(directory).rglob("*") if path.is_file()]
        manual = [path for path in files if "manual" in path.relative_to(directory).parts]
        return {
            "wheel_mb": wheels[-1].stat().st_size / 1e6,
            "sdist_mb": sdists[-1].stat().st_size / 1e6,
            "installed_mb": sum(path.stat().st_size for path in files) / 1e6,
            "manual_mb": sum(path.stat().st_size for path in manual) / 1e6,
        }


def _start_seconds(url: str) -> tuple[float, float]:
    """Return the time until a server is ready, and its processor time. It is asked every 50 ms."""
    started = time.perf_counter()
    with serving(url) as (_, pid):
        passed = time.perf_counter() - started
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return passed, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(url: str) -> dict[str, float]:
    """Return the resident memory of a server at rest, its maximum under load, and after that."""
    with serving(url) as (port, pid):
        time.sleep(SECONDS / 4)
        found = {"idle": resident_mib(pid)}
        over = threading.Event()
        with ThreadPoolExecutor(_CLIENTS + 1) as pool:
            users = [pool.submit(_read, port, over) for _ in range(_CLIENTS)]
            users.append(pool.submit(_write, port, over))
            deadline, maximum = time.monotonic() + SECONDS, 0.0
            while time.monotonic() < deadline:
                maximum = max(maximum, resident_mib(pid))
                time.sleep(0.05)
            over.set()
            found["requests"] = sum(user.result() for user in users)
        time.sleep(SECONDS / 4)
        return found | {"under_load": maximum, "after": resident_mib(pid)}


def _read(port: int, over: threading.Event) -> int:
    connection, requests = http.client.HTTPConnection("127.0.0.1", port), 0
    while not over.is_set():
        call(connection, "GET", _PATHS[requests % len(_PATHS)])
        requests += 1
    return requests


def _write(port: int, over: threading.Event) -> int:
    connection, batches = http.client.HTTPConnection("127.0.0.1", port), 0
    while not over.is_set():
        post(connection, json.dumps(list(_events(batches))).encode())
        batches += 1
    return batches


def _events(batch: int) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC).isoformat()
    for number in range(100):
        yield {
            "specversion": "1.0",
            "type": "asu.request.received",
            "id": f"{batch}-{number}",
            "source": "urn:asu-stats:footprint",
            "time": now,
            "data": {
                "request_hash": f"footprint-{batch}-{number % 50}",
                "outcome": "queued",
                "version": "24.10.2",
                "target": "x86/64",
                "profile": "generic",
                "diff_packages": True,
            },
        }


def _tables(result: dict[str, Any], size: int) -> list[Table]:
    extras, memory = result["extras"], result["memory_mib"]
    built = [
        (what, f"{result[name]:.1f} MB")
        for what, name in (
            ("wheel", "wheel_mb"),
            ("sdist", "sdist_mb"),
            ("installed, without extras", "installed_mb"),
            ("of it the manual", "manual_mb"),
        )
        if name in result
    ]
    return [
        Table(
            "Packages of the extras",
            ("extra", "packages", "size"),
            [(name, extras[name]["packages"], f"{extras[name]['mb']:.0f} MB") for name in _EXTRAS],
        ),
        Table(
            f"A server, {size:,} requests stored",
            ("what", "measured"),
            [
                *built,
                ("start until ready", f"{result['start_seconds']:.1f} s"),
                ("of it processor time", f"{result['start_processor_seconds']:.1f} s"),
                ("memory, idle", f"{memory['idle']:.0f} MiB"),
                ("memory, under load", f"{memory['under_load']:.0f} MiB"),
                ("memory, after the load", f"{memory['after']:.0f} MiB"),
            ],
            f"The load: {_CLIENTS} readers of six pages and reports and a writer of batches of 100 "
            f"events, for {SECONDS:.0f} s.",
        ),
    ]
