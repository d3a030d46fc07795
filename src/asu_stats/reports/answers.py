"""The shapes of the responses.

Rates are percentages (0-100) to 2 decimals, averages to 1 decimal, durations whole seconds; `None`
is what can't be known or was taken over nothing.
"""

from collections.abc import Sequence
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Rate = Annotated[float | None, Field(description="Percent, 2 decimals; null over nothing.")]
Average = Annotated[float | None, Field(description="Seconds, 1 decimal; null over nothing.")]
Seconds = Annotated[int | None, Field(description="Whole seconds; null over nothing.")]
KnownRate = Annotated[
    float | None, Field(description="Percent of those of which it is known, 2 decimals.")
]
UnknownSplit = Annotated[
    int, Field(description="Imported requests of which diff_packages is not known; in neither.")
]
Day = Annotated[str, Field(description="UTC day, YYYY-MM-DD.", examples=["2024-01-07"])]
Requests = Annotated[int, Field(description="Accepted requests, by the day they were received.")]
Built = Annotated[int, Field(description="Builds that ended well, by the day they finished.")]
Failed = Annotated[int, Field(description="Builds that failed or timed out, by that day.")]
BucketBuilt = Annotated[
    int | None,
    Field(description="Builds that ended well. With `client`: as there, null where not known."),
]
BucketFailed = Annotated[
    int | None, Field(description="Builds that failed or timed out, likewise.")
]
_UNTRACED = "null where some were imported without hash, see `period.incomplete`."
ClientBuilt = Annotated[
    int | None, Field(description=f"The client's requests whose build ended well; {_UNTRACED}")
]
ClientFailed = Annotated[
    int | None,
    Field(
        description="The client's requests whose build failed, or had failed just before; "
        + _UNTRACED
    ),
]
UniqueRequests = Annotated[
    int | None,
    Field(description="Distinct request hashes; null where requests were imported without theirs."),
]
Rejected = Annotated[
    int | None,
    Field(
        description="Not among the requests; null where the window holds history of an older "
        "server, which did not keep them."
    ),
]
UniqueRejected = Annotated[
    int | None,
    Field(
        description="Distinct request hashes among rejected requests: a client that posts again "
        "while the queue is full counts once. Null where `rejected_requests` is."
    ),
]
Hash = Annotated[
    str | None,
    Field(
        description="First 12 characters; whole for a caller with a `read` token. Null where the "
        "build was imported without it."
    ),
]


Total = Annotated[
    int, Field(description="How many entries the list has in all: `limit` bounds what is shown.")
]


class Period(TypedDict):
    """The window of an answer."""

    start: Annotated[str, Field(description="UTC day, YYYY-MM-DD; with `hours` a time.")]
    end: Annotated[str, Field(description="UTC day, included; with `hours` the time it is now.")]
    days: Annotated[int | None, Field(description="Null with `hours`.")]
    hours: NotRequired[Annotated[int, Field(description="Only where they were asked for.")]]
    data_since: Annotated[
        Day | None, Field(description="First day of which anything is known; null if none is.")
    ]
    incomplete: Annotated[
        list[str], Field(description="What can't be known of the window, and why; as a rule empty.")
    ]


class Totals(TypedDict):
    """What was asked for and what was built."""

    requests: Requests
    unique_requests: UniqueRequests
    cache_hits: int
    cache_hit_rate: Rate
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    rejected_requests: Rejected
    unique_rejected_requests: UniqueRejected
    cancelled_builds: Annotated[int, Field(description="Neither successful nor failed.")]


class BuildPerformance(TypedDict):
    """Durations of successful builds."""

    avg_duration_seconds: Average
    median_duration_seconds: Seconds
    p95_duration_seconds: Seconds
    total_build_time_hours: Annotated[float, Field(description="Hours, 2 decimals.")]


class ClientRequests(TypedDict):
    """A client and its requests."""

    client: str
    requests: Requests


class ClientsOverview(TypedDict):
    """Who asked."""

    total_unique: int
    top_5: list[ClientRequests]


class DiffPackages(TypedDict):
    """Requests with and without `diff_packages`."""

    enabled: int
    disabled: int
    unknown: UnknownSplit
    percentage_enabled: KnownRate


class Overview(TypedDict):
    """`GET /api/v1/stats/overview`."""

    period: Period
    totals: Totals
    build_performance: BuildPerformance
    clients: ClientsOverview
    diff_packages: DiffPackages


class TargetRequests(TypedDict):
    """A target and its requests."""

    target: str
    requests: Requests


class ProfileRequests(TypedDict):
    """A profile and its requests."""

    profile: str
    requests: Requests


class VersionRequests(TypedDict):
    """A version and its requests."""

    version: str
    requests: Requests


class ClientVersionRequests(TypedDict):
    """A version of a client and its requests."""

    client_version: str
    requests: Requests


class VersionRow(TypedDict):
    """One version."""

    version: str
    requests: Requests
    unique_targets: Annotated[int, Field(description="Distinct targets among the requests.")]
    cache_hits: int
    cache_hit_rate: Rate
    avg_build_duration: Average
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    top_targets: list[TargetRequests]


class TargetRow(TypedDict):
    """One target."""

    target: str
    requests: Requests
    unique_profiles: Annotated[int, Field(description="Distinct profiles among the requests.")]
    cache_hits: int
    cache_hit_rate: Rate
    avg_build_duration: Average
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    top_profiles: list[ProfileRequests]


class ProfileRow(TypedDict):
    """One profile."""

    profile: str
    requests: Requests
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    avg_build_duration: Average
    cache_hits: int
    cache_hit_rate: Rate


class ClientRow(TypedDict):
    """One client; its builds are those its own requests waited for."""

    client: str
    total_requests: Requests
    unique_builds: UniqueRequests
    cache_hits: int
    cache_hit_rate: Rate
    successful_builds: ClientBuilt
    failed_builds: ClientFailed
    pending: Annotated[
        int | None,
        Field(description=f"Requests whose build has not ended, or cancelled; {_UNTRACED}"),
    ]
    success_rate: Rate
    rejected_requests: Rejected
    unique_rejected_requests: UniqueRejected
    top_versions: list[VersionRequests]


class PackageRow(TypedDict):
    """One package."""

    package: str
    requests: Annotated[
        int,
        Field(description="Accepted requests that named it, without those answered from cache."),
    ]
    percentage: Annotated[
        float | None, Field(description="Percent of all accepted requests, 2 decimals.")
    ]


class ClientErrorRow(TypedDict):
    """Requests of a client that were rejected or whose build failed, of one type."""

    category: str
    type: str
    count: int
    percentage: Rate


class DiffPackagesOverview(TypedDict):
    """Requests by `diff_packages`."""

    total_builds: Requests
    diff_packages_enabled: int
    diff_packages_disabled: int
    diff_packages_unknown: UnknownSplit
    percentage_enabled: KnownRate


class DiffPackagesVersion(TypedDict):
    """The same of one version."""

    version: str
    total: Requests
    enabled: int
    disabled: int
    unknown: UnknownSplit
    percentage_enabled: KnownRate


class DiffPackagesDay(TypedDict):
    """The same of one day."""

    date: Day
    enabled: int
    disabled: int
    unknown: UnknownSplit
    percentage_enabled: KnownRate


class DiffPackagesReport(TypedDict):
    """`GET /api/v1/stats/diff-packages`."""

    overview: DiffPackagesOverview
    by_version: list[DiffPackagesVersion]
    by_version_total: Total
    trend: list[DiffPackagesDay]


class ErrorType(TypedDict):
    """One type of error."""

    type: str
    count: int
    affected_versions: Annotated[list[str], Field(description="At most 10, most errors first.")]
    affected_versions_total: Total


class ErrorCategory(TypedDict):
    """One category of errors."""

    category: str
    count: int
    percentage: Rate
    top_errors: Annotated[list[ErrorType], Field(description="At most 5.")]
    top_errors_total: Total


class VersionErrors(TypedDict):
    """A version and its errors."""

    version: str
    errors: int


class Errors(TypedDict):
    """`GET /api/v1/stats/errors`."""

    total_errors: Annotated[int, Field(description="Failed builds and rejected requests.")]
    by_category: Sequence[ErrorCategory]
    by_category_total: Total
    by_version: Sequence[VersionErrors]
    by_version_total: Total


class BuildDuration(TypedDict):
    """Durations of successful builds; percentiles are nearest-rank."""

    avg_seconds: Average
    median_seconds: Seconds
    p50_seconds: Seconds
    p90_seconds: Seconds
    p95_seconds: Seconds
    p99_seconds: Seconds
    min_seconds: Seconds
    max_seconds: Seconds


class VersionPerformance(TypedDict):
    """Durations of one version's successful builds."""

    version: str
    avg_duration: Average
    median_duration: Seconds
    builds: Annotated[int, Field(description="Successful builds of known duration.")]


class SlowBuild(TypedDict):
    """One of the slowest successful builds."""

    request_hash: Hash
    version: str
    target: str
    profile: str
    duration: Annotated[int, Field(description="Whole seconds.")]
    package_count: int | None
    finished_at: Annotated[str, Field(description="RFC 3339, UTC.")]


class Performance(TypedDict):
    """`GET /api/v1/stats/performance`."""

    build_duration: BuildDuration
    by_version: Sequence[VersionPerformance]
    by_version_total: Total
    slowest_builds: Annotated[list[SlowBuild], Field(description="At most 10.")]
    slowest_builds_total: Total


class Bucket(TypedDict):
    """One bucket of a time series."""

    timestamp: Annotated[
        str, Field(description="2024-01-01T13:00:00Z, 2024-01-01, a Monday, or 2024-01.")
    ]
    requests: Requests
    cache_hits: int
    cache_hit_rate: Rate
    successful_builds: BucketBuilt
    failed_builds: BucketFailed
    success_rate: Rate
    avg_build_duration: Average
    unique_clients: Annotated[
        int | None, Field(description="Distinct clients; null with `target` or `profile`.")
    ]
    unique_requests: Annotated[
        int | None, Field(description="Distinct request hashes; null by the hour or with a filter.")
    ]


class ClientReport(ClientRow):
    """`GET /api/v1/stats/clients/{client}`."""

    period: Period
    top_versions_total: Total
    client_versions: list[ClientVersionRequests]
    client_versions_total: Total
    top_targets: list[TargetRequests]
    top_targets_total: Total
    top_profiles: list[ProfileRequests]
    top_profiles_total: Total
    errors: Annotated[list[ClientErrorRow], Field(description="By category and type.")]
    errors_total: Total
    timeseries: Annotated[list[Bucket], Field(description="By day.")]


class Compared(TypedDict):
    """A figure of the overview beside the same of the window before."""

    figure: str
    unit: Annotated[str, Field(description="`count`, `percent` or `seconds`.")]
    value: float | None
    before: Annotated[
        float | None, Field(description="As many days earlier; null if not all days were known.")
    ]
    change: Annotated[
        float | None,
        Field(description="In percent, 2 decimals; of a figure in percent, in points."),
    ]
    compared_until: Annotated[
        str | None,
        Field(
            description="Where today is in the time range: up to when the days before it count, "
            "the same time of day. Else null."
        ),
    ]


class VersionBucket(TypedDict):
    """What one version was asked for in one bucket."""

    timestamp: Annotated[str, Field(description="2024-01-01, a Monday, or 2024-01.")]
    version: Annotated[
        str | None, Field(description="The eight with most requests; null: all the others.")
    ]
    requests: Requests
    percentage: Annotated[float | None, Field(description="Of all requests of the bucket.")]


class DurationBar(TypedDict):
    """Successful builds that took about as long."""

    from_seconds: int
    to_seconds: Annotated[int, Field(description="Included.")]
    builds: int
    percentage: Annotated[float | None, Field(description="Of all these builds.")]


class DurationBucket(TypedDict):
    """Durations of the successful builds of one bucket."""

    timestamp: Annotated[str, Field(description="2024-01-01, a Monday, or 2024-01.")]
    builds: Annotated[int, Field(description="Successful builds of known duration.")]
    avg_seconds: Average
    median_seconds: Seconds
    p95_seconds: Seconds


class ErrorBucket(TypedDict):
    """Errors of one category in one bucket."""

    timestamp: Annotated[str, Field(description="2024-01-01, a Monday, or 2024-01.")]
    category: Annotated[
        str | None, Field(description="The twenty with most errors; null: all the others.")
    ]
    errors: int


class ErrorTypeRow(TypedDict):
    """One type of error."""

    category: str
    type: str
    count: int
    percentage: Annotated[float | None, Field(description="Of the errors that were asked for.")]
    versions: Annotated[int, Field(description="Distinct versions it happened with.")]
    top_versions: Annotated[list[VersionErrors], Field(description="At most 10.")]


class ErrorExample(TypedDict):
    """One error."""

    timestamp: Annotated[str, Field(description="RFC 3339, UTC.")]
    category: str
    type: str
    version: str
    target: str
    profile: str
    client: Annotated[str | None, Field(description="Who was rejected; null for a build.")]
    request_hash: Annotated[str | None, Field(description="First 12 characters, if it is known.")]
    message: Annotated[str | None, Field(description="Its last 2,000 characters.")]


class WeekHour(TypedDict):
    """One hour of the week, UTC, over all weeks of the window."""

    weekday: Annotated[int, Field(description="1 is Monday, 7 is Sunday.")]
    hour: int
    requests: Requests
    failed_builds: Failed


class RunningBuild(TypedDict):
    """A build that has begun and not ended."""

    build_id: Annotated[str, Field(description="First 12 characters.")]
    version: str
    target: str
    profile: str
    started_at: Annotated[str, Field(description="RFC 3339, UTC.")]
    worker: str | None


class EndedBuild(TypedDict):
    """A build that ended."""

    build_id: Annotated[str, Field(description="First 12 characters.")]
    version: str
    target: str
    profile: str
    finished_at: Annotated[str, Field(description="RFC 3339, UTC.")]
    duration: Seconds
    status: Annotated[str, Field(description="success, failure, timeout or cancelled.")]
    error_type: str | None


class Now(TypedDict):
    """`GET /api/v1/stats/now`."""

    queue_length: Annotated[int, Field(description="Builds that wait, of all servers.")]
    builds_running: Annotated[int, Field(description="Builds that run, of all servers.")]
    running: Annotated[
        list[RunningBuild],
        Field(description="The builds that run, newest first; at most 50."),
    ]
    ended: Annotated[list[EndedBuild], Field(description="The last 12, newest first.")]
