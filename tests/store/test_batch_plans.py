"""Statements of a batch on PostgreSQL find rows by key, whatever the statistics say."""

from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import make_url, text

from asu_stats.cloudevents import from_cloudevent
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from tests.conftest import administrate
from tests.support import NOW, build, request

_READ: Final = text(
    "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE relname <> 'alembic_version'"
    " AND seq_tup_read > 0 ORDER BY relname"
)
_BATCHES, _SIZE = 20, 30
_WHOLE: Final = {"store_state"}  # it has one row


@pytest.fixture
def url(postgresql_server: str) -> str:
    """A database of its own: the counters of others include what their tests read."""
    administrate(postgresql_server, "CREATE DATABASE batch_plans TEMPLATE template")
    return (
        make_url(postgresql_server)
        .set(database="batch_plans")
        .render_as_string(hide_password=False)
    )


def test_no_batch_reads_a_whole_table(url: str) -> None:
    """The database was never analyzed, so PostgreSQL takes its tables for small."""
    engine = engines.create(url)
    for number in range(_BATCHES):
        events = []
        for place in range(_SIZE):
            name = f"hash {number * _SIZE // 2 + place}"  # half of them are known
            at = NOW - timedelta(minutes=_BATCHES * _SIZE - number * _SIZE - place)
            outcome = ("queued", "joined", "rejected")[place % 3]
            packages = ["luci", f"p{place}"]
            events.append(request(name, at, outcome=outcome, packages=packages))
            status = ("success", "failure")[place % 2]
            events += build(name, status, end=at + timedelta(minutes=1))
        apply_batch(engine, [from_cloudevent(event, now=None) for event in events])
    engine.dispose()  # the end of a session flushes its counters
    other = engines.create(url)
    with other.connect() as connection:
        read = {name: rows for name, rows in connection.execute(_READ) if name not in _WHOLE}
    other.dispose()
    assert read == {}
