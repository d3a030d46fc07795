"""Fields and rows that several responses share.

Rates are in percent (0 to 100) with 2 decimals, averages have 1 decimal, durations are whole
seconds. `None` means unknown, or a rate or average of nothing.
"""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from asu_stats.reports.marks import Named

Version = Annotated[str, Named("version"), Field(description="OpenWrt version, or `SNAPSHOT`.")]
Target = Annotated[
    str, Named("target"), Field(description="OpenWrt target, such as `ath79/generic`.")
]
Profile = Annotated[str, Named("profile"), Field(description="Device profile of the target.")]
Client = Annotated[
    str,
    Named("client"),
    Field(description="Name of the client without its version, or `unknown`."),
]
CacheHits = Annotated[int, Field(description="Accepted requests for an image that existed.")]
Category = Annotated[str, Field(description="Category of the error.")]
TypeOfError = Annotated[str, Field(description="Type of the error within its category.")]
Rate = Annotated[float | None, Field(description="Percent, 2 decimals; null without any.")]
Average = Annotated[float | None, Field(description="Seconds, 1 decimal; null without any.")]
Seconds = Annotated[int | None, Field(description="Whole seconds; null without any.")]
KnownRate = Annotated[
    float | None, Field(description="Percent of the requests that state it, 2 decimals.")
]
UnknownSplit = Annotated[
    int, Field(description="Imported requests that do not state diff_packages.")
]
Day = Annotated[str, Field(description="UTC day, YYYY-MM-DD.", examples=["2024-01-07"])]
Requests = Annotated[int, Field(description="Accepted requests, by the day they were received.")]
Built = Annotated[int, Field(description="Successful builds, by the day they finished.")]
Failed = Annotated[int, Field(description="Builds that failed or timed out, by day of their end.")]
UniqueRequests = Annotated[
    int | None,
    Field(description="Distinct request hashes; null if requests were imported without them."),
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
Total = Annotated[int, Field(description="Number of entries without `limit`.")]


class Period(TypedDict):
    """The time range of a response."""

    start: Annotated[str, Field(description="UTC day, YYYY-MM-DD; with `hours` a time.")]
    end: Annotated[str, Field(description="UTC day, included; with `hours` the current time.")]
    days: Annotated[int | None, Field(description="Null with `hours`.")]
    hours: NotRequired[Annotated[int, Field(description="Only with the parameter `hours`.")]]
    data_since: Annotated[
        Day | None, Field(description="First day with any data; null without data.")
    ]
    incomplete: Annotated[
        list[str], Field(description="What is unknown in the time range, and why; usually empty.")
    ]


class TargetRequests(TypedDict):
    """Requests for one target."""

    target: Target
    requests: Requests


class ProfileRequests(TypedDict):
    """Requests for one profile."""

    profile: Profile
    requests: Requests
