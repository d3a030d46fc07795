"""Waits of a batch are asked for with its builds, before it is known which of them matter."""

from datetime import timedelta

from sqlalchemy import Engine, select

from asu_stats.cloudevents import from_cloudevent
from asu_stats.store.apply import apply_batch
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.verification import verify
from tests.support import NOW, CloudEvent, build, request


def apply(engine: Engine, *events: CloudEvent) -> None:
    apply_batch(engine, [from_cloudevent(event, now=None) for event in events])


def test_a_start_that_is_later_than_the_end_of_its_build(engine: Engine) -> None:
    """The clocks disagree. The wait ended before the event, and is needed nevertheless."""
    end = NOW - timedelta(minutes=10)
    start, finish = build("hash", end=end, seconds=-300)
    apply(engine, request("hash", end - timedelta(minutes=1)), finish)
    apply(engine, start)
    with engine.connect() as connection:
        assert connection.execute(select(build_metrics.c.client)).scalar_one() == "luci"
    assert list(verify.differences(engine)) == []


def test_waits_that_ended_before_do_not_change(engine: Engine) -> None:
    """The same hash was built before: its first request stays with that build."""
    first = NOW - timedelta(hours=2)
    apply(engine, request("hash", first), *build("hash", end=first + timedelta(minutes=2)))
    apply(engine, request("hash", NOW - timedelta(minutes=9), client="cli/1"))
    second = build("hash", "failure", end=NOW - timedelta(minutes=5))
    apply(engine, *second)
    with engine.connect() as connection:
        waits = select(client_stats.c.client, client_stats.c.status).order_by("timestamp")
        clients = select(build_metrics.c.client).order_by("finished_at")
        assert connection.execute(waits).all() == [("luci", "success"), ("cli", "failure")]
        assert connection.execute(clients).scalars().all() == ["luci", "cli"]
    assert list(verify.differences(engine)) == []
