"""Log lines that stay few, one when a state changes, then a count; and each of them is one line."""

import logging
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Final, TypeAlias

_REMIND_SECONDS: Final = 600.0
_LINES, _MINUTE = 5, 60.0
_KEYS: Final = 256

_ExcInfo: TypeAlias = (
    bool | BaseException | tuple[type[BaseException], BaseException, TracebackType | None] | None
)


class Condition:
    """Something that works or fails, logged when that changes. Safe to use from any thread.

    Further failures are only counted; the count is logged every ten minutes and on recovery. A
    condition that changes all the time is announced at most five times a minute.
    """

    def __init__(self, log: logging.Logger, name: str) -> None:
        self._log = log
        self._name = name
        self._guard = threading.Lock()
        self._since: float | None = None
        self._count = 0
        self._announced = False
        self._remind_at = 0.0
        self._announcements: deque[float] = deque(maxlen=_LINES)

    @property
    def failing(self) -> bool:
        """Whether the last thing heard was a failure."""
        return self._since is not None

    def failed(
        self,
        reason: object,
        *,
        count: int = 1,
        level: int = logging.WARNING,
        exc_info: _ExcInfo = None,
    ) -> None:
        """Count `count` failures; log the first, with its traceback if `exc_info` says so."""
        with self._guard:
            now = time.monotonic()
            if self._since is None:
                self._since, self._announced = now, False
            self._count += count
            if not self._announced and self._may_announce(now):
                self._announced, self._remind_at = True, now + _REMIND_SECONDS
                self._log.log(level, "%s: %s", self._name, reason, exc_info=exc_info)
            elif self._announced and now >= self._remind_at:
                self._remind_at = now + _REMIND_SECONDS
                words = "%s: still failing count=%d seconds=%d: %s"
                seconds = now - self._since
                self._log.log(level, words, self._name, self._count, seconds, reason)

    def works(self) -> None:
        """Take note of a success; the first after failures is logged with their count."""
        if self._since is None:  # by far the most frequent case needs no lock
            return
        with self._guard:
            if self._since is None:
                return
            seconds, count = time.monotonic() - self._since, self._count
            self._since = None
            if self._announced:
                self._count = 0
                self._log.info("%s: recovered count=%d seconds=%d", self._name, count, seconds)

    def _may_announce(self, now: float) -> bool:
        full = len(self._announcements) == _LINES
        if full and now - self._announcements[0] < _MINUTE:
            return False
        self._announcements.append(now)
        return True


class RepeatLimit(logging.Filter):
    """Lets five warnings or errors of a kind through in a minute, then only counts them.

    A kind is a logger and a message before its values are filled in. The first line after the
    minute says how many were left out. What is below a warning passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}  # begin of the minute, lines

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, str(record.msg)[:200])
        now = time.monotonic()
        with self._guard:
            begin, lines = self._kinds.pop(key, (now, 0))
            left_out = 0
            if now - begin >= _MINUTE:
                begin, lines, left_out = now, 0, max(0, lines - _LINES)
            if len(self._kinds) >= _KEYS:
                self._kinds.pop(next(iter(self._kinds)))
            self._kinds[key] = (begin, lines + 1)
        if left_out:
            record.msg = f"{record.getMessage()} (left out {left_out} lines like this)"
            record.args = ()
        return lines < _LINES


class Lines(logging.Formatter):
    """Writes a message as one line, and a traceback below it as lines that are indented.

    So nothing that strangers have named can look like a line of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {one_line(line)}" for line in lines)


def one_line(text: str) -> str:
    """Return `text` with escapes for all that would end a line, or change how it is shown."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
