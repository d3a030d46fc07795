"""Two servers and two workers on one database: nothing is lost or counted twice."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from asu_stats.store.database import engine as engines
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.verification import verify
from tests import processes

REQUESTS = 2000
THREADS = 50
DISTINCT = 300


def post(port: int, number: int) -> int:
    body = {
        "version": "24.10.2",
        "target": "ath79/generic",
        "profile": f"device-{number % DISTINCT}",
        "packages": ["luci"],
        "client": f"tester{number % 3}/1",
    }
    message = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/build",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(message, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def ask(port: int, number: int) -> list[int]:
    """Ask again where an overloaded machine says 503: nothing has happened then."""
    statuses = [post(port, number)]
    while statuses[-1] == 503 and len(statuses) < 20:
        time.sleep(1)
        statuses.append(post(port, number))
    return statuses


@pytest.mark.crash
@pytest.mark.timeout(280)
def test_two_servers_and_two_workers(database_url: str, tmp_path: Path) -> None:
    ports = [processes.free_port() for _ in range(2)]
    servers = [("serve", "--port", str(port), "--builder", "none") for port in ports]
    workers = [("worker", "--builder", "demo", "--workers", "2")] * 2
    running = [
        processes.start(tmp_path, database_url, *arguments) for arguments in (*servers, *workers)
    ]
    engine = engines.create(database_url)
    try:
        for port in ports:
            processes.wait_ready(port)
        statuses: Counter[int] = Counter()
        lock = threading.Lock()

        def send(thread: int) -> None:
            for number in range(thread, REQUESTS, THREADS):
                answered = ask(ports[number % 2], number * 7)
                with lock:
                    statuses.update(answered)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses.pop(503, 0) <= REQUESTS // 50
        assert set(statuses) <= {200, 202, 500}, statuses
        assert sum(statuses.values()) == REQUESTS

        def building() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/api/v1/stats") as answer:
                waiting = int(json.load(answer)["queue_length"])
            with engine.connect() as db:
                open_ = select(func.count()).where(build_metrics.c.status == "building")
                ended = select(func.count()).where(build_metrics.c.status != "building")
                done = db.execute(ended).scalar_one()
                return waiting + db.execute(open_).scalar_one() + (done < DISTINCT)

        deadline = time.monotonic() + 120
        while building() and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1)  # for the last events on their way
        with engine.connect() as db:
            counted = select(client_stats.c.outcome, func.count())
            outcomes: dict[str, int] = {
                row[0]: row[1] for row in db.execute(counted.group_by(client_stats.c.outcome))
            }
            builds = db.execute(select(func.count()).select_from(build_metrics)).scalar_one()
        assert sum(outcomes.values()) == REQUESTS
        assert outcomes["queued"] == builds == DISTINCT
        assert list(verify.differences(engine)) == []
    finally:
        for process in running:
            processes.kill(process)
        engine.dispose()
