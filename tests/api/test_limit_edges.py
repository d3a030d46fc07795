"""Rate limits at their edges: time ranges, networks, windows of a wrong clock, and digests."""

import time
from ipaddress import ip_address
from typing import Any

import pytest
from limits.util import WindowStats

from asu_stats.api.limits import RateLimits, Verdict, budget_of, client_of
from asu_stats.policies import Policies
from asu_stats.settings import load
from tests.api.test_limits import OVERVIEW, policies
from tests.coroutines import finished

__all__ = ["policies"]  # a fixture


def scope(query: bytes = b"", **headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "path": OVERVIEW,
        "query_string": query,
        "headers": [
            (name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()
        ],
        "client": ("203.0.113.7", 50_000),
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"start=2026-01-01&end=2026-04-02", "read"),  # 92 days
        (b"start=2026-01-01&end=2026-04-03", "expensive"),
        (b"x=%ff&y=\xff&days=93", "expensive"),
        (b"&".join([b"a=1"] * 49 + [b"days=93"]), "expensive"),
        (b"&".join([b"a=1"] * 50 + [b"days=93"]), "read"),  # it will be refused
    ],
)
def test_which_time_ranges_are_expensive(policies: Policies, query: bytes, expected: str) -> None:
    assert budget_of(scope(query), policies) == expected
    assert budget_of(scope(query, accept="text/csv"), policies) == "expensive"


def limiter(policies: Policies, **settings: Any) -> RateLimits:
    return RateLimits(load(database_url="sqlite:///x.db", **settings), policies)


def test_an_address_is_kept_as_a_digest_that_other_processes_cannot_tell(
    policies: Policies,
) -> None:
    first, second = limiter(policies), limiter(policies)
    address = ip_address("203.0.113.7")
    assert first._digest(address) == first._digest(ip_address("203.0.113.7"))
    assert first._digest(address) != first._digest(ip_address("203.0.113.8"))
    assert first._digest(address) != second._digest(address)
    assert len(first._digest(address)) == 24
    shared = {"rate_limit_storage": "redis://127.0.0.1:1/0"}
    one, other = limiter(policies, **shared), limiter(policies, **shared)
    assert one._digest(address) == other._digest(address)
    different = limiter(policies, rate_limit_storage="redis://127.0.0.1:2/0")
    assert different._digest(address) != one._digest(address)


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::8000:0:0:1", True),
        ("2001:db8:0:1::1", False),
        ("2001:db9::1", False),
    ],
)
def test_a_subscriber_is_a_network_of_64_bits(policies: Policies, address: str, same: bool) -> None:
    found = limiter(policies)
    mine = found._digest(ip_address("2001:db8::1"))
    assert (found._digest(ip_address(address)) == mine) == same


class Window:
    """A limiter that notes its calls; its window ends in so many seconds until it is cleared."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.calls: list[tuple[str, Any, str, str]] = []

    async def hit(self, item: Any, budget: str, key: str) -> bool:
        self.calls.append(("hit", item, budget, key))
        return self.seconds < 60

    async def clear(self, item: Any, budget: str, key: str) -> None:
        self.calls.append(("clear", item, budget, key))
        self.seconds = 30

    async def get_window_stats(self, item: Any, budget: str, key: str) -> WindowStats:
        self.calls.append(("stats", item, budget, key))
        return WindowStats(time.time() + self.seconds, 3)


def take(limits: RateLimits, request: dict[str, Any]) -> Verdict | None:
    return finished(limits.take(request))


@pytest.mark.parametrize(("seconds", "cleared"), [(30, False), (119, False), (121, True)])
def test_a_window_of_a_clock_ahead_is_begun_again(
    policies: Policies, monkeypatch: pytest.MonkeyPatch, seconds: float, cleared: bool
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    found, window = limiter(policies, rate_limit_read=5), Window(seconds)
    monkeypatch.setattr(found, "_limiter", window)
    verdict = take(found, scope())
    assert verdict is not None
    names = [name for name, *_ in window.calls]
    assert names == ["hit", "stats", *(["clear", "hit", "stats"] if cleared else [])]
    places = {call[1:] for call in window.calls}
    assert len(places) == 1
    ((item, budget, key),) = places
    assert (item.amount, budget, len(key)) == (5, "read", 24)
    assert verdict.allowed == (cleared or seconds < 60)
    assert (verdict.left, verdict.seconds) == (3, 30 if cleared or seconds == 30 else 60)


@pytest.mark.parametrize("name", ["x_forwarded_for", "forwarded"])
def test_a_forwarded_request_without_proxies_is_warned_of_once(
    policies: Policies, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    found = limiter(policies)
    take(found, scope())
    assert caplog.messages == []
    for _ in range(2):
        take(found, scope(b"", **{name: "198.51.100.1"}))
    assert caplog.messages == [
        "rate limits: a request has X-Forwarded-For but proxies=0, so clients behind a reverse "
        "proxy share one limit; set proxies to the number of reverse proxies"
    ]
    caplog.clear()
    take(limiter(policies, proxies=1), scope(b"", **{name: "198.51.100.1"}))
    assert caplog.messages == []


@pytest.mark.parametrize(("proxies", "expected"), [(1, "10.0.0.1"), (2, "198.51.100.1")])
def test_addresses_in_two_header_fields_are_one_list(proxies: int, expected: str) -> None:
    fields = [(b"x-forwarded-for", text) for text in (b"6.6.6.6, 198.51.100.1", b"10.0.0.1")]
    found = client_of({**scope(), "headers": fields}, proxies)
    assert str(found) == expected


class Failing(Window):
    """A limiter whose storage does not respond."""

    def __init__(self, words: str) -> None:
        super().__init__(30)
        self.words = words

    async def hit(self, item: Any, budget: str, key: str) -> bool:
        await super().hit(item, budget, key)
        raise OSError(self.words)


@pytest.mark.parametrize(
    ("words", "logged"), [("refused\nby the host", "refused"), ("", "unexpected error")]
)
def test_a_failing_storage_is_logged_in_one_line_and_not_asked_for_a_minute(
    policies: Policies,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    words: str,
    logged: str,
) -> None:
    found, failing, now = limiter(policies), Failing(words), [1000.0]
    monkeypatch.setattr(found, "_limiter", failing)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert take(found, scope()) is None
    assert caplog.messages == [f"rate limits: {logged}; limits are off for a minute"]
    now[0] += 59.9
    assert take(found, scope()) is None
    assert len(failing.calls) == 1
    now[0] += 0.2
    assert take(found, scope()) is None
    assert len(failing.calls) == 2
