"""Commits the events of an import in batches."""

from collections.abc import Callable, Sequence
from typing import Final

from asu_stats.events import Event
from asu_stats.importers.report import Summary

BATCH_EVENTS: Final = 4_000

# Commits events all or nothing; returns how many were new.
Commit = Callable[[Sequence[Event]], int]


class Sender:
    """Collects events and commits them in batches; `summary` counts them.

    `check` gets the first batch of each source, and raises to reject it.
    """

    def __init__(
        self,
        commit: Commit,
        summary: Summary,
        check: Callable[[Sequence[Event]], object] = lambda _: None,
    ) -> None:
        self._check = check
        self._checked = ""
        self._commit = commit
        self._summary = summary
        self._events: list[Event] = []

    def send(self, together: Sequence[Event]) -> None:
        """Send events that must be committed in one transaction."""
        self._events += together
        if len(self._events) >= BATCH_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Commit the collected events."""
        events, self._events = self._events, []
        if events:
            if self._checked != events[0].source:
                self._check(events)
                self._checked = events[0].source
            self._summary.accepted += self._commit(events)
            self._summary.events += len(events)
