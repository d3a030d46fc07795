"""Settings of periodic jobs, metrics, alerts and insights."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from asu_stats.alert_rules import DEFAULTS, Rule
from asu_stats.settings import checks
from asu_stats.webhook import Webhook

_MIN_STALE_HOURS: Final = 0.1


class Jobs(BaseModel):
    """Jobs."""

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


class Monitoring(BaseModel):
    """Metrics and alerts."""

    metrics_clients: Annotated[list[Annotated[str, AfterValidator(checks.client)]], NoDecode] = (
        Field(
            default=["luci", "owut", "auc", "ofs"],
            max_length=50,
            description="JSON list of clients that have their own series in `/metrics`; all other "
            "clients are `other`.",
        )
    )
    stale_after_hours: float = Field(
        default=6,
        ge=_MIN_STALE_HOURS,
        le=168,
        allow_inf_nan=False,
        description="Hours after which a request or build of another server stops counting as "
        "waiting or running if its end was not received.",
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

    @field_validator("notify", "webhooks", "metrics_clients")
    @classmethod
    def _once(cls, value: Any) -> Any:
        checks.all_different(value)
        return value


class Log(BaseModel):
    """Log."""

    log_format: Literal["text", "json"] = Field(
        default="text",
        description="Format of the log on standard error: lines of `text`, or a `json` object per "
        "line.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important messages that are logged."
    )
    access_log: bool = Field(
        default=False,
        description="Log each request: method, path template, status, duration and size. Paths and "
        "queries are not logged, since they contain request hashes.",
    )
    log_addresses: bool = Field(
        default=False, description="Log client addresses with requests and refused tokens."
    )


class Insights(BaseModel):
    """Insights."""

    release_days: Path | None = Field(
        default=None,
        description="CSV file with the columns `version` and `released` (YYYY-MM-DD): days of "
        "releases that asu-stats has no date for, or a wrong one. Read when the server starts.",
    )
