"""Settings of the build service, its images, and the requests that it accepts."""

import math
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from asu_stats.settings import checks, sources
from asu_stats.settings.kinds import MANY, SECONDS, PublicUrl, TextList
from asu_stats.settings.storage import file_of

BuilderName = Literal["demo", "command", "none"]
# Clients poll every five seconds and then download: an image must be there for longer than that.
_DOWNLOAD_SECONDS: Final = 60


class Builds(BaseModel):
    """Build service."""

    build_api: bool = Field(
        default=True,
        description="Serve the build API. If false, there is no build service: the server keeps "
        "the statistics of other servers only, and `builder` must be `none`.",
    )
    builder: BuilderName = Field(
        default="none", description="How images are built: `demo`, `command` or `none`."
    )
    command: TextList = Field(
        default=[],
        description="JSON list of command lines that the `command` builder runs for each build; "
        "see `docs/build-service.md`.",
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="Number of concurrent builds per process."
    )
    max_pending_jobs: int = Field(
        default=200,
        ge=0,
        le=MANY,
        description="Queue limit: while more builds than this wait, requests that need a new "
        "build get 529.",
    )
    job_timeout_seconds: int = Field(
        default=600, ge=1, le=SECONDS, description="Seconds after which a build is stopped."
    )
    worker_timeout_seconds: int = Field(
        default=60,
        ge=2,
        le=SECONDS,
        description="Seconds without a heartbeat after which a worker counts as dead and its "
        "build as timed out.",
    )
    demo_seconds: float = Field(
        default=8.0,
        gt=0,
        le=86_400,
        validate_default=True,
        description="Mean duration of a build of the `demo` builder, in seconds; at most "
        "`job_timeout_seconds`.",
    )

    @field_validator("builder")
    @classmethod
    def _builds_for_the_api(cls, value: BuilderName, info: ValidationInfo) -> BuilderName:
        if value != "none" and info.data.get("build_api") is False:
            raise ValueError("expected none, because build_api is false")
        return value

    @field_validator("demo_seconds")
    @classmethod
    def _before_the_timeout(cls, value: float, info: ValidationInfo) -> float:
        limit = info.data.get("job_timeout_seconds", math.inf)
        if info.data.get("builder") == "demo" and value > limit:
            raise ValueError(f"expected at most job_timeout_seconds, {limit}, not {value:g}")
        return value


class Images(BaseModel):
    """Images."""

    store_directory: Path = Field(
        default=Path("asu-stats-store"),
        validate_default=True,
        description="Directory of built images, served at `/store/`. No other files of asu-stats "
        "may be inside.",
    )
    build_ttl_seconds: int = Field(
        default=7 * 86400,
        ge=_DOWNLOAD_SECONDS,
        le=SECONDS,
        description="Seconds for which a built image is served from the cache.",
    )
    build_ttl_unversioned_seconds: int = Field(
        default=86400,
        ge=_DOWNLOAD_SECONDS,
        le=SECONDS,
        description="The same for images of snapshots whose request has neither a revision nor "
        "package versions; never longer than `build_ttl_seconds`.",
    )
    build_defaults_ttl_seconds: int = Field(
        default=1800,
        ge=_DOWNLOAD_SECONDS,
        le=SECONDS,
        description="The same for images that contain a first-boot script.",
    )
    build_failure_seconds: int = Field(
        default=3600,
        ge=0,
        le=SECONDS,
        description="Seconds for which a failed build is remembered and not retried.",
    )

    @field_validator("store_directory")
    @classmethod
    def _only_images(cls, value: Path, info: ValidationInfo) -> Path:
        checks.not_inside(
            value,
            {
                "the settings file": sources.file_path(),
                "database_url": file_of(info.data.get("database_url")),
                "spool_directory": info.data.get("spool_directory"),
                "archive_directory": info.data.get("archive_directory"),
            },
        )
        return value

    @property
    def moving_ttl_seconds(self) -> int:
        """Seconds for which an image is served if its request means the newest snapshot."""
        return min(self.build_ttl_unversioned_seconds, self.build_ttl_seconds)


class BuildRequests(BaseModel):
    """Build requests and clients."""

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
        le=MANY,
        description="Maximum length of a first-boot script, in characters.",
    )
    max_custom_rootfs_size_mb: int = Field(
        default=1024,
        ge=1,
        le=MANY,
        description="Maximum root file system size that a request can ask for, in MB.",
    )
    repository_allow_list: Annotated[
        list[Annotated[str, AfterValidator(checks.without_password)]], NoDecode
    ] = Field(
        default=[],
        description="JSON list of URL prefixes of extra package repositories that are accepted.",
    )
