"""Settings of the database, the spool, recording, retention and the archive."""

import socket
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from asu_stats.event_times import OLDEST_EVENT
from asu_stats.settings import checks
from asu_stats.settings.kinds import DAYS, MANY, SECONDS, PublicUrl
from asu_stats.times import utc_today

_DRIVERS: Final = {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"}


class Storage(BaseModel):
    """Database and spool."""

    database_url: str = Field(
        default="sqlite:///asu-stats.db",
        description="SQLAlchemy URL of the database: `sqlite:///FILE` or `postgresql://…`.",
    )
    read_database_url: str | None = Field(
        default=None,
        description="URL of a streaming replica (PostgreSQL) of `database_url` that reports are "
        "read from; see `docs/scaling.md`. Default: reports are read from `database_url`.",
    )
    read_max_lag_seconds: float = Field(
        default=30,
        ge=1,
        le=SECONDS,
        description="Reports are read from `database_url` while the replica is further behind, in "
        "seconds.",
    )
    spool_directory: Path | None = Field(
        default=None,
        description="Directory for events that wait while the database is unreachable. Default: "
        "`FILE.spool` next to an SQLite file, otherwise `asu-stats.spool`.",
    )
    spool_limit_bytes: int = Field(
        default=1 << 30,
        ge=0,
        le=1 << 50,
        description="Maximum size of the spool, in bytes.",
    )
    spool_reserve_bytes: int = Field(
        default=16 << 20,
        ge=0,
        le=1 << 50,
        description="Bytes that the spool reserves at start, to work on a full disk.",
    )
    plan_indexes: bool = Field(
        default=True,
        description="Keep extra indexes for manual queries, such as requests by client. "
        "`asu-stats db upgrade` creates or drops them; with SQLite, `serve` does so "
        "at start.",
    )

    @field_validator("read_database_url")
    @classmethod
    def _replica_of_postgresql(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if cls._known_database(value) and file_of(value):
            raise ValueError("expected a PostgreSQL URL: SQLite has no replicas")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("expected a database URL such as sqlite:///asu-stats.db") from None
        if url.drivername not in _DRIVERS:
            raise ValueError(f"{url.drivername} is not supported; use sqlite or postgresql")
        # Several threads and processes share the database; they cannot share one in memory.
        name = url.database or ""
        if url.get_backend_name() == "sqlite":
            if not name or name.startswith((":", "file:")):
                raise ValueError("expected the name of a file, as in sqlite:///asu-stats.db")
            checks.path(name)
        elif url.port is not None and not 0 < url.port < 65_536:
            raise ValueError("expected a port from 1 to 65535")
        return value

    @property
    def database_file(self) -> Path | None:
        """The SQLite file; `None` with PostgreSQL."""
        return file_of(self.database_url)

    @property
    def spool_path(self) -> Path:
        if self.spool_directory:
            return self.spool_directory
        file = self.database_file
        return file.with_name(f"{file.name}.spool") if file else Path("asu-stats.spool")


class Recording(BaseModel):
    """Recording."""

    source: PublicUrl | None = Field(
        default=None,
        description="Absolute URI of this server, the `source` of its events. Default: made from "
        "the host name.",
    )
    ingest_token: Annotated[SecretStr, AfterValidator(checks.token)] | None = Field(
        default=None, description="An additional token with the scope `ingest`."
    )
    oldest_event: date = Field(
        default=OLDEST_EVENT,
        ge=date(1970, 1, 1),
        description="First UTC day that events may have, not in the future. Events with an earlier "
        "time come from a clock that is not set and are refused.",
    )
    recorder_queue_events: int = Field(
        default=100_000,
        ge=1,
        le=MANY,
        description="Maximum number of events in memory; further events go to the spool.",
    )
    recorder_batch_events: int = Field(
        default=2_000, ge=1, le=MANY, description="Maximum number of events in one transaction."
    )
    follow_go_builder: Path | None = Field(
        default=None,
        description="SQLite file of a Go server. `serve` imports its rows, and then each new row "
        "within seconds, like `asu-stats import go-builder --follow`; of several servers one does. "
        "Default: no file.",
    )

    @field_validator("oldest_event")
    @classmethod
    def _not_in_the_future(cls, value: date) -> date:
        today = utc_today()
        if value > today:
            raise ValueError(
                f"expected a day not after today, {today}: all events would be refused"
            )
        return value

    @property
    def event_source(self) -> str:
        """`source` of this server's events, without a trailing slash."""
        return (self.source or f"http://{quote(socket.gethostname())}").rstrip("/")


class Retention(BaseModel):
    """Retention and archive."""

    build_metrics_days: int = Field(
        default=90,
        ge=1,
        le=DAYS,
        description="Days before builds are archived.",
    )
    client_stats_days: int = Field(
        default=180,
        ge=1,
        le=DAYS,
        description="Days before requests are archived.",
    )
    error_stats_days: int = Field(
        default=180,
        ge=1,
        le=DAYS,
        description="Days before errors are archived.",
    )
    hourly_rollup_days: int = Field(
        default=90, ge=1, le=DAYS, description="Days before hourly figures are deleted."
    )
    queue_sample_days: int = Field(
        default=30,
        ge=1,
        le=DAYS,
        description="Days before the samples of the queue, one per minute, are deleted.",
    )
    archive: Literal["tables", "parquet", "csv.gz"] = Field(
        default="tables",
        description="Where details go after their retention: `tables` of the database, or files "
        "in the format `parquet` or `csv.gz`.",
    )
    archive_directory: Path = Field(
        default=Path("asu-stats-archive"),
        description="Directory of the archive files. They are part of the database: back them "
        "up. The directory can be moved together with all its files.",
    )


def file_of(database_url: str | None) -> Path | None:
    """Return the file of an SQLite database, `None` for another database."""
    url = make_url(database_url or "sqlite://")
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
