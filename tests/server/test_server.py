"""Servers created by a program: statistics only, with a path prefix."""

import html
import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import asu_stats
from asu_stats import server, settings
from asu_stats.exceptions import InvalidSettingError, NotStartedError
from asu_stats.server import Server
from tests.conftest import sqlite_database
from tests.coroutines import finished
from tests.support import NOW, TOKEN, build, request

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
ALONE, MOUNTED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """What makes a server on an empty database; it is stopped when the test is over."""

    def make(**more: Any) -> Server:
        chosen = {"spool_reserve_bytes": 0, "ingest_token": TOKEN, "jobs": False, **more}
        return server.create(
            settings.load(
                database_url=sqlite_database(request),
                spool_directory=tmp_path / "spool",
                store_directory=tmp_path / "images",
                **chosen,
            )
        )

    before = threading.active_count()
    yield make
    # What anyio keeps for the next one is not ours.
    left = [each for each in threading.enumerate() if "AnyIO" not in each.name]
    assert len(left) <= before


def example(code: str) -> Any:
    """Run an example of the page and return its application."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(code, names)  # noqa: S102 - our own
    return names["app"]


def test_the_example_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = example(ALONE)
    assert not (tmp_path / "stats.db").exists()
    with TestClient(app) as client:
        token = {"Authorization": "Bearer change-me"}
        sent = client.post("/api/v1/stats/events", json=[request("h1")], headers=token)
        assert sent.json() == {"accepted": 1, "duplicates": 0}
        assert client.get("/api/v1/stats/jobs").json()
        assert client.get("/json/v1/latest.json").status_code == 200
    assert (tmp_path / "stats.db").exists()


def test_the_example_of_a_mounted_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with TestClient(example(MOUNTED)) as client:
        page = client.get(client.get("/").json()["statistics"])
        assert "<h1" in page.text
        assert client.get("/statistics/api/v1/stats/overview").json()["totals"]["requests"] == 0
        assert client.get("/api/v1/stats/overview").status_code == 404
        assert client.post("/statistics/api/v1/build", json={}).status_code == 404


@pytest.mark.usefixtures("manual_pages")
def test_links_cookies_and_documents_stay_below_the_prefix(made: Any) -> None:
    statistics = made(read_access="token")
    outer = FastAPI(lifespan=statistics.lifespan)
    outer.mount("/a/b", statistics)
    with TestClient(outer, follow_redirects=False) as client:
        refused = client.get("/a/b/versions", headers={"Accept": "text/html"})
        assert refused.headers["location"].startswith("/a/b/sign-in")
    open_to_all = made()
    outer = FastAPI(lifespan=open_to_all.lifespan)
    outer.mount("/a/b", open_to_all)
    with TestClient(outer) as client:
        sent = client.post("/a/b/api/v1/stats/events", json=[request("h1")], headers=AUTHORIZATION)
        assert sent.status_code == 200
        page = html.unescape(client.get("/a/b/").text)
        addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
        assert len(addresses) > 10
        assert all(address.startswith("/a/b") for address in addresses), addresses
        for address in {address.partition("#")[0] for address in addresses}:
            assert client.get(address).status_code == 200, address
        listed = client.get("/a/b/api/v1/stats/profiles?limit=1").headers["link"]
        assert listed.startswith("</a/b/api/v1/stats/profiles?")
        assert client.get("/a/b/openapi.json").json()["servers"] == [{"url": "/a/b"}]
        assert client.get("/a/b/none").headers["content-type"] == "application/problem+json"
        with client.websocket_connect("/a/b/api/v1/stats/live") as socket:
            assert socket.receive_json()["type"] == "now"
        metrics = client.get("/a/b/metrics").text
        counted = r'http_requests_total{code="200",method="GET",route="/docs"} [1-9]'
        assert re.search(counted, metrics)
        assert "/a/b" not in metrics


def test_the_prefix_of_the_settings_counts_where_the_caller_knows_none(made: Any) -> None:
    with TestClient(made(root_path="/stats")) as client:
        links = client.get("/api/v1/stats/versions?limit=1").headers["link"]
    assert links.startswith("</stats/api/v1/stats/versions?")


def test_statistics_without_a_build_service(made: Any) -> None:
    with TestClient(made(build_api=False)) as client:
        names = {thread.name for thread in threading.enumerate()}
        assert "recorder" in names
        assert not any(name.startswith("build") for name in names)
        for method, path in (
            ("POST", "/api/v1/build"),
            ("GET", f"/api/v1/build/{'0' * 64}"),
            ("GET", "/json/v1/latest.json"),
            ("GET", "/store/x"),
        ):
            assert client.request(method, path, json={}).status_code == 404, path
        paths = client.get("/openapi.json").json()["paths"]
        assert "/api/v1/stats/overview" in paths
        assert not [path for path in paths if path.startswith(("/api/v1/build/", "/json"))]
        events = [request("h1"), *build("h1", "success", end=NOW)]
        assert client.post("/api/v1/stats/events", json=events, headers=AUTHORIZATION).is_success
        window = {"start": str(NOW.date()), "end": str(NOW.date())}
        totals = client.get("/api/v1/stats/overview", params=window).json()["totals"]
        assert (totals["requests"], totals["successful_builds"]) == (1, 1)
        assert client.get("/api/v1/stats").json() == {"queue_length": 0}
        assert client.get("/readyz").status_code == 200
        assert "asu_queue_length 0.0" in client.get("/metrics").text


def test_a_builder_without_the_build_api_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="builder: expected none, because build_api"):
        settings.load(builder="demo", build_api=False)


def test_a_server_starts_again_after_it_stopped(made: Any) -> None:
    twice = made()
    for _ in range(2):
        with TestClient(twice) as client:
            assert client.get("/healthz").status_code == 200


def test_a_mounted_server_that_nobody_starts_says_so(made: Any) -> None:
    outer = FastAPI()
    outer.mount("/statistics", made())
    with TestClient(outer) as client, pytest.raises(NotStartedError, match="lifespan"):
        client.get("/statistics/healthz")


def test_what_stands_in_the_way_of_a_start_is_raised_by_the_lifespan(tmp_path: Path) -> None:
    async def start() -> None:
        async with server.create(chosen).lifespan():
            raise AssertionError

    chosen = settings.load(database_url=f"sqlite:///{tmp_path}/no/stats.db")
    with pytest.raises(asu_stats.AsuStatsError, match="no such directory"):
        finished(start())


def test_a_serving_process_collects_less_garbage() -> None:
    code = (
        "import gc; import asu_stats.server; from asu_stats.memory import collect_less_garbage; "
        "collect_less_garbage(); print(gc.get_freeze_count(), gc.get_threshold()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    frozen, new_objects = map(int, done.stdout.split())
    assert frozen > 100_000
    assert 700 < new_objects < 10_000


# Threads that need memory together, then the arenas of the process.
ARENAS = """
import ctypes, sys, threading
from asu_stats import memory
if sys.argv[1] == "shared":
    memory.share_arena()
together = threading.Barrier(6)
def work():
    together.wait()
    kept = [bytes(1_000) for _ in range(1_000)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(6)]
for each in threads: each.start()
for each in threads: each.join()
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(c.fopen(sys.argv[2].encode(), b"w"))
c.malloc_info(0, file)
c.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the malloc of glibc")
@pytest.mark.parametrize("kind", ["shared", "usual"])
def test_threads_of_a_server_share_memory(kind: str, tmp_path: Path) -> None:
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("MALLOC")}
    command = [sys.executable, "-c", ARENAS, kind, str(tmp_path / "arenas")]
    subprocess.run(command, env=environment, check=True)
    arenas = (tmp_path / "arenas").read_text().count("<heap nr=")
    assert (arenas == 1) == (kind == "shared")


def test_the_front_door_loads_no_other_package() -> None:
    code = (
        "import sys; before = {*sys.modules}; import asu_stats; asu_stats.Emitter; "
        "asu_stats.AsuStatsError; dir(asu_stats); "
        "print(*{name.partition('.')[0] for name in {*sys.modules} - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} - sys.stdlib_module_names == {"asu_stats"}


def test_the_front_door_leads_to_all_that_it_names() -> None:
    assert sorted(asu_stats.__all__) == [
        "AsuStatsError",
        "Emitter",
        "__version__",
        "server",
        "settings",
    ]
    for name in asu_stats.__all__:
        assert getattr(asu_stats, name)
        assert f"`asu_stats.{name}`" in PAGE or name == "__version__"
    with pytest.raises(AttributeError, match="emitter"):
        asu_stats.emitter  # noqa: B018
