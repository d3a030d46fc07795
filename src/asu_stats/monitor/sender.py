"""Delivery threads, one per channel, so that a slow one delays neither others nor rules."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Self

from sqlalchemy import Engine

from asu_stats.logs import Condition
from asu_stats.loops import Loop
from asu_stats.monitor import outbox
from asu_stats.monitor.channels import Channel
from asu_stats.monitor.posting import DeliveryError
from asu_stats.times import utc_now

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 2.0
_JOIN_SECONDS: Final = 6.0


def send_due(
    engine: Engine,
    channel: Channel,
    *,
    clock: Callable[[], datetime] = utc_now,
    condition: Condition | None = None,
) -> int:
    """Send the due messages of one channel. Returns how many were delivered.

    Raises `StoreUnavailableError`. A failed message is retried at its next time.
    `condition` logs when the channel fails and recovers.
    """
    arrived = 0
    condition = condition or Condition(log, channel.name)
    while message := outbox.claim(engine, channel.key, clock()):
        try:
            channel.send(message.message_id, message.body)
        except DeliveryError as error:
            again = outbox.failed(engine, message, str(error), clock(), final=error.final)
            condition.failed(f"{message.message_id}: {error}")
            if not again:
                log.warning("%s: %s: given up: %s", channel.name, message.message_id, error)
        else:
            outbox.delivered(engine, message, clock())
            condition.works()
            log.info("%s: %s: delivered", channel.name, message.message_id)
            arrived += 1
    return arrived


class Sender:
    """Sends messages in the background until it is closed."""

    def __init__(
        self, engine: Engine, channels: Sequence[Channel], *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._loops = [
            Loop(
                channel.name,
                partial(send_due, engine, channel, condition=Condition(log, channel.name)),
                seconds=check_seconds,
            )
            for channel in channels
        ]

    def __enter__(self) -> Self:
        for loop in self._loops:
            loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop. A delivery in progress gets a few seconds to finish."""
        for loop in self._loops:
            loop.stop()
        for loop in self._loops:
            loop.join(_JOIN_SECONDS)
