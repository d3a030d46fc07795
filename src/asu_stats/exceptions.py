"""Errors that cross packages, in one class hierarchy. Others are declared where they occur."""

from collections.abc import Sequence
from datetime import date


def reason(error: BaseException) -> str:
    """Return a public reason for an error: without class names, addresses and values."""
    import ssl  # the emitter, which needs no reasons, would import it for nothing

    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return "TLS failed, or the certificate is not trusted"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    if isinstance(error, ConnectionError):
        return "the connection broke off"
    return "unexpected error"


class AsuStatsError(Exception):
    """Base of all errors below. `str()` of it is a message for people."""


class InvalidParameterError(AsuStatsError):
    """A query or path parameter (or a command line option) that can't be used."""

    def __init__(self, parameter: str, *, got: str, expected: str) -> None:
        self.parameter = parameter
        self.got = got if len(got) <= 80 else f"{got[:77]}..."
        self.expected = expected
        super().__init__(f"{parameter}={self.got}: expected {expected}")


class InvalidNoteError(AsuStatsError):
    """A note whose text or times can't be used."""


class InvalidSilenceError(AsuStatsError):
    """A silence of alerts that can't be created. `field` is the wrong member."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")


class InvalidEventError(AsuStatsError):
    """An invalid event. `field` is the wrong member.

    `index` is its position in the batch, `line` its line in the body, if the body has them.
    `others` are further events of the batch that are invalid.
    """

    others: "Sequence[InvalidEventError]" = ()

    def __init__(
        self, field: str, problem: str, *, index: int | None = None, line: int | None = None
    ) -> None:
        self.field = field
        self.problem = problem
        self.index = index
        self.line = line
        place = _place(index, line)
        super().__init__(f"{place}.{field}: {problem}" if field else f"{place}: {problem}")

    def among(self, errors: "Sequence[InvalidEventError]") -> "InvalidEventError":
        """Return this error, the first of several."""
        self.others = errors[1:]
        return self


class EventFarAheadError(InvalidEventError):
    """An event whose time is so far ahead of this server's that one of the two clocks is wrong."""


class EventTooEarlyError(AsuStatsError):
    """An event whose time is ahead of this server's, but not by so much that it must be wrong.

    `wait_seconds` is when the same event can be accepted; `index` and `line` are its place.
    """

    def __init__(
        self,
        problem: str,
        wait_seconds: int,
        *,
        index: int | None = None,
        line: int | None = None,
    ) -> None:
        self.problem = problem
        self.wait_seconds = wait_seconds
        self.index = index
        self.line = line
        super().__init__(f"{_place(index, line)}.time: {problem}")


def _place(index: int | None, line: int | None) -> str:
    """Return the place of an event in a request body, for messages."""
    if line is not None:
        return f"line {line}: event"
    return "event" if index is None else f"events[{index}]"


class ForeignDataError(AsuStatsError):
    """Data of another server that cannot be read. The import stops."""

    def __init__(self, place: object, problem: str) -> None:
        super().__init__(f"{place}: {problem}")


class OtherHistoryError(ForeignDataError):
    """Data of another server that changed since the last import. Importing it would count wrong."""


class UnknownClientError(AsuStatsError):
    """No request of this client was ever recorded."""

    def __init__(self, client: str) -> None:
        super().__init__(f"client {client!r}: no request of this client is known")


class UnknownFingerprintError(AsuStatsError):
    """No error ever had this fingerprint."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"fingerprint {fingerprint!r}: no error with it is known")


class TooManyNamesError(AsuStatsError):
    """A time range with so many names that their rows are not read: they need too much memory."""

    def __init__(self, first: date, last: date, most: int) -> None:
        days = f"{first}" if first == last else f"the days from {first} to {last}"
        super().__init__(
            f"{days}: more than {most:,} distinct names of versions, profiles, clients, workers, "
            "errors and so on, expected fewer: ask for other or fewer days"
        )


class StoreUnavailableError(AsuStatsError):
    """The database is unreachable or cannot write now. Nothing was written.

    `retry_after_seconds` is the requested pause, if any. `public` is a reason that everybody may
    see: `str()` of the error may name files and addresses.
    """

    public = "the database is unreachable"

    def __init__(self, problem: str, *, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(problem)


class MisconfiguredSenderError(StoreUnavailableError):
    """A server that responds, but not to this URL, token or content type, or is not trusted."""


class TimeLimitError(StoreUnavailableError):
    """The database stopped a statement or snapshot that took longer than its time limit."""

    public = "the database took longer than its time limit"


class ChangedSchemaError(StoreUnavailableError):
    """The schema of the database was changed by another release after this process had started."""

    public = "the database was upgraded: this server needs the new release"

    def __init__(self, found: str | None, needed: str) -> None:
        super().__init__(
            f"database: its schema was changed to {found}, this process needs {needed}: install "
            "the release that changed it, and restart"
        )


class IncompleteDatabaseError(StoreUnavailableError):
    """A table, column or index of the database is missing: it was dropped or not restored."""

    def __init__(self, words: str) -> None:
        self.public = f"the database is incomplete: {words.removeprefix('database: ')}"
        super().__init__(f"{words}; the database is incomplete, restore it from a backup")


class StoreRefusedError(AsuStatsError):
    """The database rejected a statement. Nothing was written."""


class MissingArchiveError(StoreRefusedError):
    """A required archive file cannot be read. The message has its path in the archive directory."""


class BackupError(AsuStatsError):
    """A backup that cannot be created, read or restored: which file, and why."""

    def __init__(self, file: object, problem: str) -> None:
        super().__init__(f"{file}: {problem}")


class SchemaError(AsuStatsError):
    """The database has no schema, or an older or newer one than this program needs."""


class NotDistributableError(AsuStatsError):
    """A database that cannot be distributed over the workers of Citus."""


class InvalidSettingError(AsuStatsError):
    """A setting, settings file or file named by a setting that can't be used."""


class UndeclaredRouteError(AsuStatsError):
    """A route without declared access and budget. This is a bug: the server does not start."""


class NotStartedError(AsuStatsError):
    """A server was called outside its lifespan."""

    def __init__(self) -> None:
        super().__init__(
            "the server is not started: the application that it is mounted on needs its lifespan"
        )


class ImplausibleDayError(AsuStatsError):
    """The day of the clock is not confirmed by anything. Nothing was archived or deleted."""


class LeaseLostError(AsuStatsError):
    """Another process took over the job, or the job must stop. Nothing was written."""
