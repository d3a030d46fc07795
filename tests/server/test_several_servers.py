"""Two servers on one database: whatever one of them does, the other knows it at once."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from asu_stats.api import tokens
from tests import processes
from tests.builds.support import body
from tests.patience import within
from tests.servers import wait_for_port
from tests.support import Stats, build, request

STRANGER = {"x-forwarded-for": "203.0.113.7"}
OVERVIEW = "/api/v1/stats/overview"
OWN_ORIGIN = {"origin": "http://testserver"}


@pytest.fixture
def servers(database_url: str, tmp_path: Path) -> Iterator[tuple[Stats, Stats]]:
    with ExitStack() as stack:
        yield (
            _started(stack, database_url, tmp_path, "a"),
            _started(stack, database_url, tmp_path, "b"),
        )


def _started(
    stack: ExitStack, database_url: str, directory: Path, name: str, **settings: object
) -> Stats:
    return stack.enter_context(Stats.on(database_url, directory / name / "spool", **settings))


def test_a_remembered_response_ends_with_an_event_at_the_other_server(
    servers: tuple[Stats, Stats],
) -> None:
    first, second = servers
    first.record(request("h1"))
    before = second.client.get(OVERVIEW)
    known = {"if-none-match": before.headers["etag"]}
    assert second.client.get(OVERVIEW, headers=known).status_code == 304
    assert first.client.get(OVERVIEW, headers=known).status_code == 304

    first.record(request("h2"), build("h2"))

    after = second.client.get(OVERVIEW, headers=known)
    assert after.status_code == 200
    assert after.json()["totals"]["requests"] == before.json()["totals"]["requests"] + 1
    at_first = first.client.get(OVERVIEW)
    assert (at_first.headers["etag"], at_first.content) == (after.headers["etag"], after.content)


def test_an_event_counts_once_whichever_server_gets_it(servers: tuple[Stats, Stats]) -> None:
    first, second = servers
    events = [request("h1"), *build("h1")]
    assert first.record(events)["accepted"] == 3
    assert second.record(events)["duplicates"] == 3
    assert second.get("overview")["totals"]["requests"] == 1


def test_live_messages_come_from_every_server(servers: tuple[Stats, Stats]) -> None:
    first, second = servers
    with second.client.websocket_connect("/api/v1/stats/live") as socket:
        assert socket.receive_json()["running"] == []
        first.record(request("h1"), build("h1", build_id="b1")[0])
        assert [row["build_id"] for row in socket.receive_json()["running"]] == ["b1"]


def test_a_build_is_joined_and_followed_at_another_server(servers: tuple[Stats, Stats]) -> None:
    first, second = servers
    first.now = second.now = datetime.now(UTC)
    accepted = first.client.post("/api/v1/build", json=body())
    assert accepted.status_code == 202
    joined = second.client.post("/api/v1/build", json=body())
    assert (joined.status_code, joined.json()) == (202, accepted.json())
    followed = second.client.get(f"/api/v1/build/{accepted.json()['request_hash']}")
    assert (followed.status_code, followed.json()) == (202, accepted.json())

    def both_recorded() -> None:
        totals = first.get("overview")["totals"]
        assert (totals["requests"], second.get("now")["queue_length"]) == (2, 1)

    within(5, both_recorded)


def test_a_session_is_valid_everywhere_until_its_token_is_revoked(
    database_url: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        first, second = (
            _started(stack, database_url, tmp_path, name, read_access="token") for name in "ab"
        )
        token = tokens.create(first.engine, "reader", "read")
        signed_in = first.client.post(
            "/sign-in", data={"token": token}, headers=OWN_ORIGIN, follow_redirects=False
        )
        assert signed_in.status_code == 303
        second.client.cookies = first.client.cookies
        assert second.client.get(OVERVIEW).status_code == 200

        tokens.revoke(second.engine, "reader")

        assert first.client.get(OVERVIEW).status_code == 401
        assert second.client.get(OVERVIEW).status_code == 401


def test_a_silence_is_known_everywhere(servers: tuple[Stats, Stats]) -> None:
    first, second = servers
    headers = {"authorization": f"Bearer {tokens.create(first.engine, 'jane', 'operator')}"}
    silences = "/api/v1/stats/alerts/silences"
    wanted = {"rule": "queue_long", "hours": 4, "comment": "new workers"}
    created = first.client.post(silences, json=wanted, headers=headers)
    assert created.status_code == 201
    assert second.client.get(silences, headers=headers).json() == [created.json()]
    ended = second.client.delete(f"{silences}/{created.json()['id']}", headers=headers)
    assert ended.status_code == 204
    assert first.client.get(silences, headers=headers).json() == []


@pytest.fixture
def redis_url() -> Iterator[str]:
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("redis-server is not installed")
    port = processes.free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning")
    with subprocess.Popen([command, *options], stdout=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def test_servers_with_a_common_storage_share_the_limit_of_an_address(
    database_url: str, tmp_path: Path, redis_url: str
) -> None:
    limits = {"rate_limit_storage": redis_url, "rate_limit_read": 4, "proxies": 1}
    with ExitStack() as stack:
        both = [_started(stack, database_url, tmp_path, name, **limits) for name in "ab"]
        answers = [both[turn % 2].client.get(OVERVIEW, headers=STRANGER) for turn in range(6)]
        assert [each.status_code for each in answers] == [200, 200, 200, 200, 429, 429]
