"""Kinds of detail rows: what decides where a row counts when rollups are counted anew.

A property is what a row of that kind adds to the sums that `recount` names it for.
"""

from typing import NamedTuple, TypeAlias

from asu_stats.events import FAILED_STATUSES
from asu_stats.store.requests import UNTRACED


class Request(NamedTuple):
    """What decides where a row of `client_stats` counts."""

    outcome: str
    diff_packages: bool | None
    status: str
    hashed: bool
    waited: bool
    listed: bool

    @property
    def accepted(self) -> bool:
        """Whether it counts as a request."""
        return self.outcome != "rejected"

    @property
    def rejected(self) -> bool:
        """Whether it was refused."""
        return self.outcome == "rejected"

    @property
    def hit(self) -> bool:
        """Whether the cache answered it."""
        return self.outcome == "cache_hit"

    @property
    def queued(self) -> bool:
        """Whether it made a build."""
        return self.outcome == "queued"

    @property
    def joined(self) -> bool:
        """Whether it joined one."""
        return self.outcome == "joined"

    @property
    def cached_failure(self) -> bool:
        """Whether a known failure answered it."""
        return self.outcome == "cached_failure"

    @property
    def diff(self) -> bool:
        """Whether it names all its packages."""
        return self.accepted and self.diff_packages is True

    @property
    def no_diff(self) -> bool:
        """Whether it names further packages only."""
        return self.accepted and self.diff_packages is False

    @property
    def queued_diff(self) -> bool:
        """Whether it made a build of all its packages."""
        return self.queued and self.diff_packages is True

    @property
    def queued_no_diff(self) -> bool:
        """Whether it made a build of further packages."""
        return self.queued and self.diff_packages is False

    @property
    def unhashed(self) -> bool:
        """Whether it is not known which request it is."""
        return self.accepted and not self.hashed

    @property
    def untraced(self) -> bool:
        """Whether it is not known how it ended."""
        return self.status == UNTRACED

    @property
    def good(self) -> bool:
        """Whether the build that it waited for succeeded."""
        return self.waited and self.status == "success"

    @property
    def went_bad(self) -> bool:
        """Whether the build that it waited for failed."""
        return self.waited and self.status in FAILED_STATUSES

    @property
    def bad(self) -> bool:
        """Whether it ended badly for its client."""
        return self.went_bad or self.cached_failure

    @property
    def error(self) -> bool:
        """Whether it is an error of its client."""
        return self.went_bad or self.rejected


class Build(NamedTuple):
    """What decides where a row of `build_metrics` counts."""

    status: str
    duration_seconds: int | None
    diff_packages: bool | None

    @property
    def good(self) -> bool:
        """Whether it succeeded."""
        return self.status == "success"

    @property
    def bad(self) -> bool:
        """Whether it failed or timed out."""
        return self.status in FAILED_STATUSES

    @property
    def timed_out(self) -> bool:
        """Whether it ran out of time."""
        return self.status == "timeout"

    @property
    def cancelled(self) -> bool:
        """Whether it was taken back."""
        return self.status == "cancelled"

    @property
    def timed(self) -> bool:
        """Whether it succeeded, and is known to have taken how long."""
        return self.good and self.duration_seconds is not None

    @property
    def seconds(self) -> int:
        """What it took, where that counts."""
        return (self.duration_seconds or 0) if self.timed else 0

    @property
    def good_diff(self) -> bool:
        """Whether it succeeded with all its packages named."""
        return self.good and self.diff_packages is True

    @property
    def good_no_diff(self) -> bool:
        """Whether it succeeded with further packages only."""
        return self.good and self.diff_packages is False


class Error(NamedTuple):
    """What decides how a row of `error_stats` counts."""

    errors: int


Kind: TypeAlias = Request | Build | Error
