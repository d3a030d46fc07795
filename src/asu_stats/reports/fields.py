"""Fields and rows that several responses have.

Rates are percentages (0-100) to 2 decimals, averages to 1 decimal, durations whole seconds; `None`
is what can't be known or was taken over nothing.
"""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Version = Annotated[str, Field(description="OpenWrt version, or `SNAPSHOT`.")]
Target = Annotated[str, Field(description="OpenWrt target, such as `ath79/generic`.")]
Profile = Annotated[str, Field(description="Device profile of the target.")]
Client = Annotated[str, Field(description="Name of the client without its version, or `unknown`.")]
CacheHits = Annotated[int, Field(description="Accepted requests for an image that existed.")]
Category = Annotated[str, Field(description="Category of the error.")]
TypeOfError = Annotated[str, Field(description="Type of the error within its category.")]
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
Built = Annotated[int, Field(description="Successful builds, by the day they finished.")]
Failed = Annotated[int, Field(description="Builds that failed or timed out, by that day.")]
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
        list[str], Field(description="What is unknown in the time range, and why; usually empty.")
    ]


class TargetRequests(TypedDict):
    """A target and its requests."""

    target: Target
    requests: Requests


class ProfileRequests(TypedDict):
    """A profile and its requests."""

    profile: Profile
    requests: Requests
