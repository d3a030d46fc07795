"""The protocol of recording as a model: writers that take turns, readers, and crashes anywhere.

Writers apply batches in one transaction each: find out which events are new, read what is committed
(builds for new requests, waiting requests for new ends), then commit identities, details, sums and
the change counter together, and acknowledge. A batch that was not acknowledged is sent again.
Readers keep responses by change counter. Thousands of schedules are tried; faults must be found.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest


class Event(NamedTuple):
    """A request of a hash, or the end of its build."""

    kind: str
    request_hash: str


BATCHES = (
    (Event("request", "a"), Event("request", "b"), Event("end", "c")),
    (Event("end", "a"), Event("request", "b"), Event("request", "c")),
)
SCHEDULES = 1500


@dataclass
class Database:
    """What is committed: identities, sums, and the counter of changes. `holder` has the lock."""

    events: set[Event] = field(default_factory=set)
    requests: int = 0
    pending: int = 0
    changes: int = 0
    commits: int = 0
    holder: int | None = None

    @property
    def answer(self) -> tuple[int, int]:
        return self.requests, self.pending


def expected(events: set[Event]) -> tuple[int, int]:
    """Compute the figures from the events, in whatever order they came."""
    asked = {event.request_hash for event in events if event.kind == "request"}
    ended = {event.request_hash for event in events if event.kind == "end"}
    return len(asked), len(asked - ended)


@dataclass
class Run:
    """One schedule: the state, what was acknowledged, and the fault that was built in."""

    fault: str
    database: Database = field(default_factory=Database)
    acknowledged: set[Event] = field(default_factory=set)

    def writer(self, number: int) -> Iterator[bool]:
        """Yield after each step whether it made progress."""
        database, batch = self.database, BATCHES[number]
        if self.fault != "no lock":
            while database.holder not in {None, number}:
                yield False
            database.holder = number
        yield True
        if self.fault == "acknowledged early":
            self.acknowledged |= set(batch)
            yield True
        new = [event for event in batch if event not in database.events]
        if self.fault == "received instead of new":
            new = list(batch)
        yield True
        # What is committed now decides which waits begin, and which end.
        ended = {event.request_hash for event in database.events if event.kind == "end"}
        waiting = {
            event.request_hash
            for event in database.events
            if event.kind == "request" and event.request_hash not in ended
        }
        ends = {event.request_hash for event in new if event.kind == "end"}
        asked = {event.request_hash for event in new if event.kind == "request"}
        pending = len(asked - ends - ended) - len(waiting & ends)
        yield True
        if self.fault == "identities first":
            database.events |= set(new)
            yield True
        database.events |= set(new)
        database.requests += len(asked)
        database.pending += pending
        database.commits += 1
        if self.fault != "counter later":
            database.changes += 1
        yield True
        if self.fault == "counter later":
            database.changes += 1
        database.holder = None
        yield True
        self.acknowledged |= set(batch)

    def reader(self) -> Iterator[bool]:
        kept: dict[int, tuple[int, tuple[int, int]]] = {}
        database = self.database
        while True:
            known = database.commits
            found = kept.setdefault(database.changes, (database.commits, database.answer))
            assert found[0] >= known, "a response is older than the last commit"
            yield True

    def play(self, rng: random.Random) -> None:
        writers = {number: self.writer(number) for number in range(len(BATCHES))}
        reader, crashes = self.reader(), rng.randint(0, 3)
        while writers:
            number = rng.choice([*writers, -1])
            if number < 0:
                next(reader)
            elif crashes and rng.random() < 0.15:
                crashes -= 1
                if self.database.holder == number:
                    self.database.holder = None  # the transaction is rolled back
                del writers[number]
                if not set(BATCHES[number]) <= self.acknowledged:
                    writers[number] = self.writer(number)  # it is sent again
            elif next(writers[number], None) is None:
                del writers[number]
        assert self.acknowledged <= self.database.events, "an acknowledged event is lost"
        assert self.database.answer == expected(self.database.events), "figures differ"


def explore(fault: str = "") -> None:
    rng = random.Random(18)
    for _ in range(SCHEDULES):
        Run(fault).play(rng)


def test_no_schedule_loses_an_event_or_shows_an_old_or_wrong_figure() -> None:
    explore()


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("no lock", "figures differ"),
        ("acknowledged early", "an acknowledged event is lost"),
        ("received instead of new", "figures differ"),
        ("identities first", "figures differ"),
        ("counter later", "a response is older than the last commit"),
    ],
)
def test_the_model_finds_a_fault(fault: str, found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        explore(fault)
