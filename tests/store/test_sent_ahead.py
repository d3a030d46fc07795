"""Statements that are sent ahead because a question needed them last time: never stale, and few."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.database import postgresql, repeats
from tests import servers
from tests.support import NOW, Stats, build, request

Asked = tuple[int, dict[str, object]]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stats, servers.Proxy]]:
    """A service with its database behind a proxy that counts round trips."""
    with (
        servers.primary() as server,
        servers.proxy(server.port) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(postgresql, "_TRUSTED_SECONDS", 600.0)
        engine = engines.create(server.url())
        migrate.upgrade(engine)
        engine.dispose()
        with Stats.on(server.url(proxy.port), tmp_path_factory.mktemp("far") / "spool") as stats:
            yield stats, proxy


@pytest.fixture
def ask(far: tuple[Stats, servers.Proxy]) -> Callable[[str], Asked]:
    """Return a function that returns how many round trips a question took, and the response."""
    stats, proxy = far

    def asked(question: str) -> Asked:
        before = proxy.round_trips
        response = stats.get(question)
        return proxy.round_trips - before, response

    return asked


def test_builds_that_are_slower_than_the_slowest(
    far: tuple[Stats, servers.Proxy], ask: Callable[[str], Asked]
) -> None:
    stats, _ = far
    found: list[tuple[int, list[int]]] = []
    for minutes in (10, 11, 1, 1):
        name = f"took {minutes} of {len(found)}"
        stats.record(request(name), *build(name, end=NOW, seconds=60 * minutes))
        trips, response = ask("performance")
        slowest = response["slowest_builds"]
        assert isinstance(slowest, list)
        found.append((trips, [row["duration"] for row in slowest]))
    assert found == [
        (3, [600]),
        (3, [660, 600]),
        (3, [660, 600, 60]),
        (2, [660, 600, 60, 60]),
    ]


def test_what_is_not_needed_any_more_is_not_waited_for(
    far: tuple[Stats, servers.Proxy], ask: Callable[[str], Asked]
) -> None:
    """A failed end is replaced by an earlier one: then no error names a package."""
    stats, _ = far
    failed = build("bad", "failure", build_id="b", error_message="Package kmod-lost is missing")
    stats.record(request("bad"), *failed)
    assert ask("insights/packages")[1]["packages_total"] == 1
    stats.record(request("more"))
    assert ask("insights/packages")[0] == 2
    stats.record(*build("bad", build_id="b", end=NOW - timedelta(minutes=1)))
    trips, response = ask("insights/packages")
    assert response["packages_total"] == 0
    assert trips == 2


def test_few_statements_are_remembered(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_BYTES", 8_000)
    for number in range(20):
        name, version = f"few {number}", f"24.10.{number}"
        stats.record(request(name, version=version), *build(name, version=version))
        assert stats.get("performance", version=version)["slowest_builds_total"] == 1
        assert stats.get("performance", version="made up" * number)["slowest_builds_total"] == 0
    for remembered in repeats._engines.values():
        assert remembered.bytes <= 8_000
