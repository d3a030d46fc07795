"""Logging: one line per message, repeated failures as one line and a count, text or JSON."""

import logging
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

Form: TypeAlias = Literal["text", "json"]

_REMIND_SECONDS: Final = 600.0
_LINES, _MINUTE = 5, 60.0
_KEYS: Final = 256

# The id of the current HTTP request, for the log lines that it causes.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_ExcInfo: TypeAlias = (
    bool | BaseException | tuple[type[BaseException], BaseException, TracebackType | None] | None
)


class Condition:
    """A state, working or failing, that is logged when it changes. Thread-safe.

    Further failures are counted; the count is logged every ten minutes and on recovery. A state
    that changes constantly is logged at most five times a minute.
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
        """Whether the last call was `failed`."""
        return self._since is not None

    def failed(
        self,
        reason: object,
        *,
        count: int = 1,
        level: int = logging.WARNING,
        exc_info: _ExcInfo = None,
    ) -> None:
        """Count `count` failures, and log the first one, with the traceback in `exc_info`."""
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
                message = "%s: still failing count=%d seconds=%d: %s"
                seconds = now - self._since
                self._log.log(level, message, self._name, self._count, seconds, reason)

    def works(self) -> None:
        """Record a success; the first one after failures is logged with their count."""
        if self._since is None:  # the usual case needs no lock
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


class RepetitionFilter(logging.Filter):
    """Passes five warnings or errors of a kind per minute, and counts the rest.

    A kind is a logger and a message template. The first line after the minute contains the number
    of suppressed lines. Records below a warning always pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}  # start of a minute, lines

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, str(record.msg)[:200])
        now = time.monotonic()
        with self._guard:
            start, lines = self._kinds.pop(key, (now, 0))
            suppressed = 0
            if now - start >= _MINUTE:
                start, lines, suppressed = now, 0, max(0, lines - _LINES)
            if len(self._kinds) >= _KEYS:
                self._kinds.pop(next(iter(self._kinds)))
            self._kinds[key] = (start, lines + 1)
        if suppressed:
            record.msg = f"{record.getMessage()} suppressed={suppressed}"
            record.args = ()
        return lines < _LINES

    def omitted(self) -> int:
        """Return the number of lines that were suppressed and not reported yet."""
        with self._guard:
            return sum(max(0, lines - _LINES) for _, lines in self._kinds.values())


class TextFormatter(logging.Formatter):
    """Formats a message as one line, and a traceback as indented lines below it. Times are UTC.

    So text from clients, such as names, cannot forge a log line.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        del datefmt
        return _time_of(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        request = getattr(record, "request_id", None)
        line = super().formatMessage(record)
        return one_line(f"{line} request_id={request}" if request else line)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {one_line(line)}" for line in lines)


def one_line(text: str) -> str:
    """Return `text` with escapes for line breaks and other unprintable characters."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _time_of(record: logging.LogRecord) -> str:
    created = datetime.fromtimestamp(record.created, UTC)
    return f"{created:%Y-%m-%dT%H:%M:%S}.{created.microsecond // 1000:03}Z"


class RequestIdFilter(logging.Filter):
    """Adds the id of the current HTTP request to a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record."""
        record.request_id = request_id.get()
        return True


def start(*, verbose: bool) -> None:
    """Write log lines to standard error, unless the embedding program has configured logging."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(TextFormatter())
        handler.addFilter(RepetitionFilter())
        handler.addFilter(RequestIdFilter())
        handler.set_name("asu-stats")
        root.addHandler(handler)
        root.setLevel(logging.INFO if verbose else logging.WARNING)
    if verbose:
        be_verbose()
    else:
        logging.getLogger("asu_stats").setLevel(logging.INFO)


def omitted() -> int:
    """Return the number of repeated lines that were suppressed and not reported yet."""
    handler = _handler(logging.getLogger())
    filters = handler.filters if handler else ()
    return sum(each.omitted() for each in filters if isinstance(each, RepetitionFilter))


def be_verbose() -> None:
    """Log debug messages of asu-stats and informational ones of libraries."""
    root = logging.getLogger()
    if _handler(root) is not None:
        root.setLevel(logging.INFO)
    logging.getLogger("asu_stats").setLevel(logging.DEBUG)


def _handler(root: logging.Logger) -> logging.Handler | None:
    return next((each for each in root.handlers if each.name == "asu-stats"), None)


def use(form: Form, level: str) -> None:
    """Set format and level of the log. `be_verbose` has priority over `level`."""
    logger = logging.getLogger("asu_stats")
    if logger.level != logging.DEBUG:
        logger.setLevel(level.upper())
    handler = _handler(logging.getLogger())
    if handler is not None:
        handler.setFormatter(_json_formatter() if form == "json" else TextFormatter())


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    class OneLineJsonFormatter(JsonFormatter):
        """Formats a record as a JSON object in one line."""

        def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
            del datefmt
            return _time_of(record)

    names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
    return OneLineJsonFormatter(
        "{asctime}{levelname}{name}{message}",
        style="{",
        rename_fields=names,
        json_ensure_ascii=True,
    )
