"""Log lines that stay few, one when a state changes, then a count; and each of them is one line."""

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

# The request that is being handled; every line that is logged meanwhile names it.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

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

    So nothing that strangers have named can look like a line of its own. Times are UTC.
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
    """Return `text` with escapes for all that would end a line, or change how it is shown."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


class OfRequest(logging.Filter):
    """Adds the request that is being handled to a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.request_id = request_id.get()
        return True


def start(*, verbose: bool) -> None:
    """Write log lines to standard error, unless the program around this one has a log."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines())
        handler.addFilter(RepeatLimit())
        handler.addFilter(OfRequest())
        handler.set_name("asu-stats")
        root.addHandler(handler)
        root.setLevel(logging.INFO if verbose else logging.WARNING)
    if verbose:
        be_verbose()
    else:
        logging.getLogger("asu_stats").setLevel(logging.INFO)


def be_verbose() -> None:
    """Log details."""
    root = logging.getLogger()
    if _handler(root) is not None:
        root.setLevel(logging.INFO)
    logging.getLogger("asu_stats").setLevel(logging.DEBUG)


def _handler(root: logging.Logger) -> logging.Handler | None:
    return next((each for each in root.handlers if each.name == "asu-stats"), None)


def use(form: Form, level: str) -> None:
    """Write lines in a format and from a level on; details go on if they are asked for."""
    ours = logging.getLogger("asu_stats")
    if ours.level != logging.DEBUG:
        ours.setLevel(level.upper())
    handler = _handler(logging.getLogger())
    if handler is not None:
        handler.setFormatter(_json() if form == "json" else Lines())


def _json() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    class Objects(JsonFormatter):
        """Writes a record as one JSON object in one line."""

        def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
            del datefmt
            return _time_of(record)

    names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
    return Objects(
        "{asctime}{levelname}{name}{message}",
        style="{",
        rename_fields=names,
        json_ensure_ascii=True,
    )
