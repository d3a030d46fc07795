"""Identities of events: equal exactly for equal source and id, and conflicts are told apart."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import Event
from asu_stats.store.apply import apply_batch
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import client_stats, event_counts, event_identities
from asu_stats.store.details.identities import content, identity
from tests.support import NOW, build, request

UUID = "0190a3b4-7c1d-7e2f-8a9b-0c1d2e3f4a5b"
IDS = ("x", "y", UUID, UUID[:-1] + "c", UUID.upper(), UUID.replace("-", ""), "u" + UUID, " x", "é")
SOURCES = ("https://a.example.org", "https://b.example.org", "urn:a")


def received(**attributes: Any) -> Event:
    data = {name: attributes.pop(name) for name in list(attributes) if name not in {"id", "source"}}
    event = request("h", NOW, **data) | attributes
    return from_cloudevent(event, now=NOW, imported=True)


def test_equal_exactly_for_equal_source_and_id() -> None:
    places = [(source, id_) for source in SOURCES for id_ in IDS]
    keys = [identity(received(source=source, id=id_)) for source, id_ in places]
    assert len(set(keys)) == len(places)
    again = [identity(received(source=s, id=i, client="other")) for s, i in places]
    assert again == keys


def test_keys_of_uuids_are_short_and_in_their_order() -> None:
    keys = [identity(received(id=f"{UUID[:-2]}{n:02x}")) for n in range(256)]
    assert {len(key) for key in keys} == {8 + 1 + 16}
    assert keys == sorted(keys)
    assert keys[0].endswith(bytes.fromhex(UUID[:-2].replace("-", "") + "00"))
    assert len(identity(received(id="no UUID"))) == 25


def test_keys_are_those_of_stored_events() -> None:
    """Keys are stored forever: with other ones, an event that is sent again would count again."""
    source = "https://a.example.org"
    assert identity(received(source=source, id=UUID)).hex() == (
        "ea752535392e4da4750190a3b47c1d7e2f8a9b0c1d2e3f4a5b"
    )
    assert identity(received(source=source, id="x")).hex() == (
        "ea752535392e4da464442a44457137672b3218c1007dc8f76a"
    )


REQUEST: dict[str, object] = {
    "request_hash": "other",
    "outcome": "joined",
    "version": "23.05.5",
    "target": "x86/64",
    "profile": "other",
    "diff_packages": False,
    "client": "owut",
    "client_version": "9",
    "error_category": "build",
    "error_type": "other",
    "package_count": 9,
}
FINISHED: dict[str, object] = {
    "request_hash": "other",
    "build_id": "other",
    "status": "failure",
    "duration_seconds": 9,
    "error_category": "network",
    "error_type": "other",
}


def test_the_content_is_what_figures_depend_on() -> None:
    first = received(packages=["a"])
    started, finished = (
        from_cloudevent(event, now=NOW, imported=True) for event in build("h", build_id="b")
    )
    for event, fields in ((first, REQUEST), (finished, FINISHED)):
        known: Any = event
        for name, value in fields.items():
            assert content(replace(known, **{name: value})) != content(event), name
        assert content(replace(known, time=event.time + timedelta(microseconds=1))) != content(
            event
        )
    starting: Any = started
    for name in ("request_hash", "build_id"):
        assert content(replace(starting, **{name: "other"})) != content(started)
    other: Any = first
    assert content(replace(other, rootfs_size_mb=7)) == content(first)
    assert content(replace(other, source="urn:x", id="other")) == content(first)
    assert len(content(first)) == 8


def counts(engine: Engine) -> Counter[tuple[str, str]]:
    t = event_counts.c
    with read_snapshot(engine) as connection:
        rows = connection.execute(select(t.event, t.result, t.events)).all()
    return Counter({(event, result): events for event, result, events in rows})


def test_repetitions_and_contradictions_are_counted_apart(engine: Engine) -> None:
    a, b = received(id="a"), received(id="b")
    wrong_a = received(id="a", client="owut")
    started = from_cloudevent(build("h", build_id="b")[0], now=NOW, imported=True)

    assert apply_batch(engine, [a, a, wrong_a, started]).new == [True, False, False, True]
    found = counts(engine)
    assert set(found.values()) == {1}
    assert sorted(result for _, result in found) == [
        "accepted",
        "accepted",
        "conflict",
        "duplicate",
    ]
    assert apply_batch(engine, [wrong_a, b, a, wrong_a]).new == [False, True, False, False]
    with read_snapshot(engine) as connection:  # as many rows as new requests
        assert connection.execute(select(func.count()).select_from(client_stats)).scalar_one() == 2
    kind = next(event for event, result in found if result == "conflict")
    found = counts(engine)
    assert {r: n for (event, r), n in found.items() if event == kind} == {
        "accepted": 2,
        "duplicate": 2,
        "conflict": 3,
    }
    with read_snapshot(engine) as connection:
        kept = connection.execute(
            select(event_identities.c.content).where(event_identities.c.identity == identity(a))
        ).scalar_one()
    assert kept == content(a)  # what came first stays


@pytest.mark.parametrize("count", [2500])
def test_many_known_events_are_found_again(engine: Engine, count: int) -> None:
    events = [
        received(id=str(number), request_hash=None, outcome="rejected") for number in range(count)
    ]
    half = events[: count // 2]
    assert all(apply_batch(engine, half).new)
    assert apply_batch(engine, events).new == [number >= count // 2 for number in range(count)]
    assert not any(apply_batch(engine, list(reversed(events))).new)
    assert {result for _, result in counts(engine)} == {"accepted", "duplicate"}
    apply_batch(engine, [])
    assert sum(counts(engine).values()) == count // 2 + 2 * count
    apply_batch(engine, [replace(event, time=NOW - timedelta(1)) for event in events])
    assert {n for (_, result), n in counts(engine).items() if result == "conflict"} == {count}
