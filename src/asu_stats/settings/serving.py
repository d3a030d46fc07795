"""Settings of access, limits and legacy endpoints: what a server answers to whom."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from asu_stats import urls
from asu_stats.settings import checks
from asu_stats.settings.kinds import MANY, Origins

ReadAccess = Literal["public", "token"]
LegacyShape = Literal["go", "upstream"]


class Access(BaseModel):
    """Access and embedding."""

    read_access: ReadAccess = Field(
        default="public",
        description="Who can read statistics: everyone (`public`), or only holders of a token "
        "with the scope `read` (`token`); see `docs/dashboard.md`.",
    )
    public_floor: int = Field(
        default=0,
        ge=0,
        le=MANY,
        description="Callers without a `read` token see a version, target, profile, client, client "
        "version or package only if at least this many requests of the time range have it. The "
        "others are added up as `other`. With 0, everyone sees all names; see "
        "`docs/reference/figures.md`.",
    )
    root_path: Annotated[str, AfterValidator(checks.prefix)] = Field(
        default="", description="Path prefix that the reverse proxy strips, such as `/stats`."
    )
    public_url: Annotated[str, AfterValidator(checks.base_url)] = Field(
        default="",
        description="Address of the dashboard for its users, such as `https://example.org/stats`. "
        "Notifications of alerts link to it, and badges, embedded charts and pages contain it. Its "
        "path is `root_path`.",
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
        le=MANY,
        description="Maximum number of WebSocket connections to `/api/v1/stats/live`, per process.",
    )

    @field_validator("public_url")
    @classmethod
    def _has_the_prefix(cls, value: str, info: ValidationInfo) -> str:
        prefix = info.data.get("root_path")
        found = urls.parse(value)
        if found is not None and prefix is not None and found.parts.path != prefix:
            expected = (
                f"the path {prefix}, as in root_path" if prefix else "no path without root_path"
            )
            raise ValueError(f"expected {expected}")
        return value


class RateLimits(BaseModel):
    """Rate limits."""

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
        le=MANY,
        description="Read requests per minute and address; 0 means unlimited. See "
        "`docs/operations.md`.",
    )
    rate_limit_expensive: int = Field(
        default=60,
        ge=0,
        le=MANY,
        description="The same for CSV and for ranges of more than 92 days (by the hour: 7).",
    )
    rate_limit_ingest: int = Field(
        default=1200, ge=0, le=MANY, description="The same for calls that send events."
    )
    rate_limit_storage: Annotated[str, AfterValidator(checks.redis_url)] = Field(
        default="",
        description="URL of a Redis server in which several processes share their counts. "
        "Default: each process counts separately.",
    )


class Legacy(BaseModel):
    """Legacy endpoints."""

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
    legacy_build_stats: bool = Field(
        default=False,
        description="Also write the Go server's table `build_stats`, for dashboards that read it.",
    )

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
