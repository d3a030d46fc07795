"""Creates and ends silences for an operator, with the checks of the Alerts page and of the API."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from asu_stats.alert_rules import Rule
from asu_stats.event_times import format_time
from asu_stats.exceptions import InvalidSilenceError
from asu_stats.monitor import state
from asu_stats.monitor.state import Silence
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.text import NAME_LENGTH, is_storable

log = logging.getLogger(__name__)

MOST_HOURS: Final = 8760
MOST_NUMBER: Final = 2**63 - 1


class Silences:
    """Lists, creates and ends silences. `now` is the clock."""

    def __init__(self, engine: Engine, rules: Sequence[Rule], now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._rules = {rule.name for rule in rules}
        self._now = now

    def all(self) -> list[Silence]:
        """Return all silences that last, the last to end first."""
        with read_snapshot(self._engine) as connection:
            found = state.silences(connection)
        now = self._now()
        lasting = [silence for silence in found if silence.until > now]
        return sorted(lasting, key=lambda silence: silence.until, reverse=True)

    def create(
        self,
        *,
        rule: str | None,
        subject: Mapping[str, str],
        hours: float,
        comment: str,
        operator: str,
    ) -> Silence:
        """Create a silence that begins now. Raises `InvalidSilenceError`.

        Without a rule it holds for all rules. `operator` is the name of the token.
        """
        about = tuple(
            (dimension, subject[dimension])
            for dimension in state.DIMENSIONS
            if subject.get(dimension)
        )
        comment = comment.strip()
        self._check(rule, subject, hours, comment)
        moment = self._now()
        until = moment + timedelta(hours=hours)
        with write_transaction(self._engine) as connection:
            number = state.silence(
                connection,
                rule=rule,
                subject=about,
                until=until,
                comment=comment,
                now=moment,
                created_by=operator,
            )
        log.info(
            "alerts: silenced number=%s rule=%s until=%s token=%s",
            number,
            rule or "all",
            format_time(until.replace(microsecond=0)),
            operator,
        )
        return Silence(number, rule, about, until, comment, operator)

    def _check(
        self, rule: str | None, subject: Mapping[str, str], hours: float, comment: str
    ) -> None:
        if rule is None and not any(subject.values()):
            raise InvalidSilenceError("rule", "A silence needs a rule or a subject.")
        if rule is not None and rule not in self._rules:
            raise InvalidSilenceError("rule", "There is no such rule.")
        for name, text in (*subject.items(), ("comment", comment)):
            if len(text) > NAME_LENGTH or not is_storable(text):
                problem = f"Names and reasons have at most {NAME_LENGTH} characters."
                raise InvalidSilenceError(name, problem)
        if not 0 < hours <= MOST_HOURS:
            raise InvalidSilenceError("hours", f"expected a number up to {MOST_HOURS}.")

    def end(self, number: int, operator: str) -> bool:
        """End a silence. Returns whether it existed."""
        with write_transaction(self._engine) as connection:
            found = state.unsilence(connection, number)
        if found:
            log.info("alerts: silence ended number=%s token=%s", number, operator)
        return found
