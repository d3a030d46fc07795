"""Evaluates the alert rules at past times, so that a demo has incidents."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Engine

from asu_stats.monitor import watch
from asu_stats.service.jobs import watch_of
from asu_stats.settings import Settings
from asu_stats.store.details.queue_samples import QueueState

_EMPTY_QUEUE = QueueState(0, 0, None)


def alerts(settings: Settings, engine: Engine, times: Iterable[datetime]) -> None:
    """Evaluate the rules at `times`, as if they were now. Nobody is notified.

    The queue counts as empty: its past is not known.
    """
    past = replace(
        watch_of(settings, engine),
        channels=(),
        queue=lambda: _EMPTY_QUEUE,
        waiting=lambda _: [],
    )
    log = logging.getLogger(watch.__name__)
    level = log.level
    log.setLevel(logging.ERROR)  # it would say that alerts open and close now
    try:
        for moment in sorted(times):
            past.run(moment)
    finally:
        log.setLevel(level)
