"""All settings: default, unit, bounds and meaning in one place, read once and handed down.

They come from `ASU_STATS_*` environment variables, else from `asu-stats.toml` (or the file that
`ASU_STATS_CONFIG` names), else from the defaults here.
"""

import math
import socket
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from asu_stats.alert_rules import DEFAULTS, Rule
from asu_stats.event_times import OLDEST_EVENT
from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings import checks, lists, sources, words
from asu_stats.times import utc_today
from asu_stats.webhook import Webhook

BuilderName = Literal["demo", "command", "none"]
ReadAccess = Literal["public", "token"]
LegacyShape = Literal["go", "upstream"]
# JSON in environment variables. `lists` parses it, for clearer errors than pydantic's.
TextList = Annotated[list[str], NoDecode]
Origins = Annotated[list[Annotated[str, AfterValidator(checks.origin)]], NoDecode]
PublicUrl = Annotated[str, AfterValidator(checks.public_url)]
_DRIVERS: Final = {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"}

# Upper bounds: longer than any real use, and small enough that no sum overflows.
_DAYS: Final = 36_500
_SECONDS: Final = 10 * 365 * 86400
_MANY: Final = 10**9
# Clients ask every five seconds and then download: an image must be there for longer than that.
_DOWNLOAD_SECONDS: Final = 60
_LEAST_STALE_HOURS: Final = 0.1

_PATHS: Final = ("spool_directory", "archive_directory", "store_directory", "catalogue")
_MAY_BE_EMPTY: Final = ("root_path", "rate_limit_storage", "metadata_url")


class Settings(BaseSettings):
    """Every option of the program; `make docs` writes `docs/configuration.md` from these fields."""

    model_config = SettingsConfigDict(env_prefix="ASU_STATS_", extra="forbid", frozen=True)

    # Database and spool
    database_url: str = Field(
        default="sqlite:///asu-stats.db",
        description="SQLAlchemy URL of the database: `sqlite:///FILE` or `postgresql://…`.",
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

    # Identity and tokens
    ingest_token: Annotated[SecretStr, AfterValidator(checks.token)] | None = Field(
        default=None, description="An additional token with the scope `ingest`."
    )
    source: PublicUrl | None = Field(
        default=None,
        description="Absolute URI of this server, the `source` of its events. Default: made from "
        "the host name.",
    )
    root_path: Annotated[str, AfterValidator(checks.prefix)] = Field(
        default="", description="Path prefix that the reverse proxy strips, such as `/stats`."
    )

    # Access and embedding
    read_access: ReadAccess = Field(
        default="public",
        description="Who can read statistics: everyone (`public`), or only holders of a token "
        "with the scope `read` (`token`); see `docs/dashboard.md`.",
    )
    embed_origins: Origins = Field(
        default=[],
        description="JSON list of origins, such as `https://example.org`, whose pages can embed "
        "charts.",
    )
    live_origins: Origins = Field(
        default=[],
        description="JSON list of other origins, such as `https://example.org`, whose pages can "
        "connect to `/api/v1/stats/live`.",
    )
    live_connections: int = Field(
        default=1000,
        ge=0,
        le=_MANY,
        description="Maximum number of WebSocket connections to `/api/v1/stats/live`, per process.",
    )

    # Rate limits
    proxies: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Number of trusted reverse proxies in front of the server. Each appends the "
        "address of its caller to `X-Forwarded-For`. With 0, the header is ignored.",
    )
    rate_limit_read: int = Field(
        default=600,
        ge=0,
        le=_MANY,
        description="Read requests per minute and address; 0 means unlimited. See "
        "`docs/operations.md`.",
    )
    rate_limit_expensive: int = Field(
        default=60,
        ge=0,
        le=_MANY,
        description="The same for CSV and for ranges of more than 92 days (by the hour: 7).",
    )
    rate_limit_ingest: int = Field(
        default=1200, ge=0, le=_MANY, description="The same for calls that send events."
    )
    rate_limit_storage: Annotated[str, AfterValidator(checks.redis_url)] = Field(
        default="",
        description="URL of a Redis server in which several processes share their counts. "
        "Default: each process counts separately.",
    )

    # Recording
    oldest_event: date = Field(
        default=OLDEST_EVENT,
        ge=date(1970, 1, 1),
        description="First UTC day that events may have, not in the future. Events with an earlier "
        "time come from a clock that is not set and are refused.",
    )
    recorder_queue_events: int = Field(
        default=100_000,
        ge=1,
        le=_MANY,
        description="Maximum number of events in memory; further events go to the spool.",
    )
    recorder_batch_events: int = Field(
        default=2_000, ge=1, le=_MANY, description="Maximum number of events in one transaction."
    )

    # Retention and archive
    build_metrics_days: int = Field(
        default=90,
        ge=1,
        le=_DAYS,
        description="Days before builds are archived.",
    )
    client_stats_days: int = Field(
        default=180,
        ge=1,
        le=_DAYS,
        description="Days before requests are archived.",
    )
    error_stats_days: int = Field(
        default=180,
        ge=1,
        le=_DAYS,
        description="Days before errors are archived.",
    )
    hourly_rollup_days: int = Field(
        default=90, ge=1, le=_DAYS, description="Days before hourly figures are deleted."
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

    # Jobs
    jobs: bool = Field(
        default=True,
        description="Run the periodic jobs inside `serve`. If false, run them from outside with "
        "`asu-stats jobs run NAME`; see `docs/operations.md`.",
    )
    retention_schedule: str = Field(
        default="25 2 * * *",
        description="When expired details are archived: a crontab expression of five fields, in "
        "UTC, with weekdays by name.",
    )
    verify_schedule: str = Field(
        default="25 3 * * *",
        description="When the rollups of closed days are verified: a crontab expression of five "
        "fields, in UTC, with weekdays by name.",
    )
    queue_sample_days: int = Field(
        default=30,
        ge=1,
        le=_DAYS,
        description="Days before the samples of the queue, one per minute, are deleted.",
    )
    stale_after_hours: float = Field(
        default=6,
        ge=_LEAST_STALE_HOURS,
        le=168,
        allow_inf_nan=False,
        description="Hours after which a request or build of another server stops counting as "
        "waiting or running if its end was not received.",
    )

    # Legacy endpoints
    legacy_build_stats: bool = Field(
        default=False,
        description="Also write the Go server's table `build_stats`, for dashboards that read it.",
    )
    legacy_shape: LegacyShape = Field(
        default="go",
        description="Response format of the legacy endpoints: that of the `go` server or of the "
        "`upstream` Python server; see `docs/migration.md`.",
    )
    legacy_deprecated_since: date = Field(
        default=date(2026, 10, 1),
        ge=date(1970, 1, 1),
        description="Date in the `Deprecation` header of the legacy endpoints.",
    )
    legacy_sunset: date | None = Field(
        default=None,
        description="Date in the `Sunset` header of the legacy endpoints, from which they may be "
        "removed. Default: not decided.",
    )
    legacy_gone: bool = Field(
        default=False,
        description="Respond with 410 at the legacy endpoints from `legacy_sunset` on.",
    )

    # Metrics and alerts
    metrics_clients: Annotated[list[Annotated[str, AfterValidator(checks.client)]], NoDecode] = (
        Field(
            default=["luci", "owut", "auc", "ofs"],
            max_length=50,
            description="JSON list of clients that have their own series in `/metrics`; all other "
            "clients are `other`.",
        )
    )

    alerts: Annotated[tuple[Rule, ...], NoDecode] = Field(
        default=DEFAULTS,
        description="JSON list of rules, or tables `[[alerts]]` in the file. Each changes the "
        "default rule of its name or adds a rule; see `docs/alerts.md`.",
    )
    notify: Annotated[list[SecretStr], NoDecode] = Field(
        default=[],
        description="JSON list of Apprise URLs that receive alerts, such as "
        "`mailtos://user:password@example.org`.",
    )
    webhooks: Annotated[tuple[Webhook, ...], NoDecode] = Field(
        default=(),
        description="JSON list of signed webhooks, or tables `[[webhooks]]` in the file, each "
        "with `url` and `secret`; see `docs/alerts.md`.",
    )

    # Build service
    build_api: bool = Field(
        default=True,
        description="Serve the build API. If false, there is no build service: the server keeps "
        "the statistics of other servers only, and `builder` must be `none`.",
    )
    builder: BuilderName = Field(
        default="none", description="How images are built: `demo`, `command` or `none`."
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="Number of concurrent builds per process."
    )
    max_pending_jobs: int = Field(
        default=200,
        ge=0,
        le=_MANY,
        description="Queue limit: while more builds than this wait, requests that need a new "
        "build get 529.",
    )
    job_timeout_seconds: int = Field(
        default=600, ge=1, le=_SECONDS, description="Seconds after which a build is stopped."
    )
    worker_timeout_seconds: int = Field(
        default=60,
        ge=2,
        le=_SECONDS,
        description="Seconds without a heartbeat after which a worker counts as dead and its "
        "build as timed out.",
    )
    build_failure_seconds: int = Field(
        default=3600,
        ge=0,
        le=_SECONDS,
        description="Seconds for which a failed build is remembered and not retried.",
    )
    build_ttl_seconds: int = Field(
        default=7 * 86400,
        ge=_DOWNLOAD_SECONDS,
        le=_SECONDS,
        description="Seconds for which a built image is served from the cache.",
    )
    build_ttl_unversioned_seconds: int = Field(
        default=86400,
        ge=_DOWNLOAD_SECONDS,
        le=_SECONDS,
        description="The same for images of snapshots whose request has neither a revision nor "
        "package versions; never longer than `build_ttl_seconds`.",
    )
    build_defaults_ttl_seconds: int = Field(
        default=1800,
        ge=_DOWNLOAD_SECONDS,
        le=_SECONDS,
        description="The same for images that contain a first-boot script.",
    )
    store_directory: Path = Field(
        default=Path("asu-stats-store"),
        validate_default=True,
        description="Directory of built images, served at `/store/`. No other files of asu-stats "
        "may be inside.",
    )
    catalogue: Path | None = Field(
        default=None,
        description="JSON file of the versions, targets and profiles on offer; requests for "
        "others are rejected. See `docs/build-service.md`.",
    )
    upstream_url: PublicUrl = Field(
        default="https://downloads.openwrt.org",
        description="Where releases and their packages are published. Clients receive this URL.",
    )
    metadata_url: Annotated[str, AfterValidator(checks.public_url_or_nothing)] = Field(
        default="https://sysupgrade.openwrt.org",
        description="Build server to which clients are redirected for package lists and other "
        "data that the catalogue lacks. Empty: no redirects.",
    )
    allow_defaults: bool = Field(default=False, description="Accept first-boot scripts.")
    max_defaults_length: int = Field(
        default=20_480,
        ge=0,
        le=_MANY,
        description="Maximum length of a first-boot script, in characters.",
    )
    max_custom_rootfs_size_mb: int = Field(
        default=1024,
        ge=1,
        le=_MANY,
        description="Maximum root file system size that a request can ask for, in MB.",
    )
    repository_allow_list: Annotated[
        list[Annotated[str, AfterValidator(checks.without_password)]], NoDecode
    ] = Field(
        default=[],
        description="JSON list of URL prefixes of extra package repositories that are accepted.",
    )
    command: TextList = Field(
        default=[],
        description="JSON list of command lines that the `command` builder runs for each build; "
        "see `docs/build-service.md`.",
    )
    demo_seconds: float = Field(
        default=8.0,
        gt=0,
        le=86_400,
        validate_default=True,
        description="Mean duration of a build of the `demo` builder, in seconds; at most "
        "`job_timeout_seconds`.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _understood(cls, value: object, info: ValidationInfo) -> object:
        """Strip white space, parse lists, and refuse values that pydantic would misread."""
        name, value = str(info.field_name), checks.stripped(value)
        if value == "" and name not in _MAY_BE_EMPTY:
            raise ValueError("is empty; leave it out for its default")
        if name in lists.TEXTS or name in lists.TABLES:
            value = lists.read(name, value)
        kind = cls.model_fields[name].annotation
        if kind in {date, date | None}:
            return checks.day(value)
        if isinstance(value, bool) and kind in {int, float}:
            return str(value).lower()  # not a number: pydantic refuses the text
        return checks.path(value) if name in _PATHS else value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("not a database URL, such as sqlite:///asu-stats.db") from None
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

    @field_validator("notify", "webhooks", "metrics_clients")
    @classmethod
    def _once(cls, value: Any) -> Any:
        checks.all_different(value)
        return value

    @field_validator("oldest_event")
    @classmethod
    def _not_in_the_future(cls, value: date) -> date:
        today = utc_today()
        if value > today:
            raise ValueError(
                f"expected a day not after today, {today}: all events would be refused"
            )
        return value

    @field_validator("store_directory")
    @classmethod
    def _only_images(cls, value: Path, info: ValidationInfo) -> Path:
        checks.not_inside(
            value,
            {
                "the settings file": sources.file_path(),
                "database_url": _file_of(info.data.get("database_url")),
                "spool_directory": info.data.get("spool_directory"),
                "archive_directory": info.data.get("archive_directory"),
            },
        )
        return value

    @field_validator("demo_seconds")
    @classmethod
    def _before_the_timeout(cls, value: float, info: ValidationInfo) -> float:
        limit = info.data.get("job_timeout_seconds", math.inf)
        if info.data.get("builder") == "demo" and value > limit:
            raise ValueError(f"expected at most job_timeout_seconds, {limit}, not {value:g}")
        return value

    @field_validator("legacy_sunset")
    @classmethod
    def _after_deprecation(cls, value: date | None, info: ValidationInfo) -> date | None:
        since = info.data.get("legacy_deprecated_since")
        if value and since and value < since:
            raise ValueError(f"expected a day not before legacy_deprecated_since, {since}")
        return value

    @field_validator("legacy_gone")
    @classmethod
    def _gone_some_day(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "legacy_sunset" in info.data and info.data["legacy_sunset"] is None:
            raise ValueError("expected legacy_sunset to be set too, the day of their removal")
        return value

    @field_validator("builder")
    @classmethod
    def _builds_for_the_api(cls, value: BuilderName, info: ValidationInfo) -> BuilderName:
        if value != "none" and info.data.get("build_api") is False:
            raise ValueError("expected none, because build_api is false")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: given in code, environment, file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, sources.file_source(settings_cls)

    @property
    def moving_ttl_seconds(self) -> int:
        """Seconds for which an image is served if its request means the newest snapshot."""
        return min(self.build_ttl_unversioned_seconds, self.build_ttl_seconds)

    @property
    def event_source(self) -> str:
        """`source` of this server's events, without a trailing slash."""
        return (self.source or f"http://{quote(socket.gethostname())}").rstrip("/")

    @property
    def database_file(self) -> Path | None:
        """The SQLite file; `None` with PostgreSQL."""
        return _file_of(self.database_url)

    @property
    def spool_path(self) -> Path:
        if self.spool_directory:
            return self.spool_directory
        file = self.database_file
        return file.with_name(f"{file.name}.spool") if file else Path("asu-stats.spool")


def _file_of(database_url: str | None) -> Path | None:
    url = make_url(database_url or "sqlite://")
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def load(**overrides: object) -> Settings:
    """Return the settings; `overrides` that are `None` are ignored.

    Raises `InvalidSettingError`, which names each setting that can't be used.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    fields = Settings.model_fields
    problems = sources.misspelt(fields)
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        problems += [
            words.of_error(each, fields) + sources.origin(str(each["loc"][0]), given)
            for each in error.errors()
        ]
    except (OSError, ValueError) as error:
        raise InvalidSettingError(f"settings: {error}") from None
    if problems:
        raise InvalidSettingError("settings: " + "; ".join(problems))
    return settings
