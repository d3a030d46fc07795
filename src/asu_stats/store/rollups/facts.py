"""Facts: the values of one detail row that decide what it adds to rollups.

Each property is an amount that `counting.COUNTS` adds to sums: a number, or True for 1. Facts are
small and repeat, so the amounts of each distinct fact are computed once.
"""

from typing import NamedTuple, TypeAlias

from asu_stats.events import FAILED_STATUSES, UNTRACED_OUTCOMES


class Request(NamedTuple):
    """A request that was received: a row of `client_stats`."""

    outcome: str
    diff_packages: bool | None
    has_hash: bool
    has_package_list: bool

    @property
    def accepted(self) -> bool:
        return self.outcome != "rejected"

    @property
    def rejected(self) -> bool:
        return self.outcome == "rejected"

    @property
    def cache_hit(self) -> bool:
        return self.outcome == "cache_hit"

    @property
    def queued(self) -> bool:
        return self.outcome == "queued"

    @property
    def joined(self) -> bool:
        return self.outcome == "joined"

    @property
    def cached_failure(self) -> bool:
        return self.outcome == "cached_failure"

    @property
    def with_diff_packages(self) -> bool:
        return self.accepted and self.diff_packages is True

    @property
    def without_diff_packages(self) -> bool:
        return self.accepted and self.diff_packages is False

    @property
    def queued_with_diff_packages(self) -> bool:
        return self.queued and self.diff_packages is True

    @property
    def queued_without_diff_packages(self) -> bool:
        return self.queued and self.diff_packages is False

    @property
    def without_hash(self) -> bool:
        """Whether it was accepted without a hash: imported history."""
        return self.accepted and not self.has_hash

    @property
    def rejected_without_hash(self) -> bool:
        return self.rejected and not self.has_hash

    @property
    def untraced(self) -> bool:
        """Whether it waited for a build that is unknown because it has no hash."""
        return not self.has_hash and self.outcome in UNTRACED_OUTCOMES

    @property
    def with_package_list(self) -> bool:
        return self.has_package_list

    @property
    def rejected_with_hash(self) -> bool:
        return self.rejected and self.has_hash

    @property
    def cached_failure_with_hash(self) -> bool:
        return self.cached_failure and self.has_hash


class RequestOptions(NamedTuple):
    """Options of a requested image: a row of `client_stats`."""

    outcome: str
    has_custom_repos: bool | None
    has_defaults: bool | None
    has_rootfs_size: bool | None
    has_package_count: bool

    @property
    def accepted(self) -> bool:
        return self.outcome != "rejected"

    @property
    def with_custom_repos(self) -> bool:
        return self.accepted and self.has_custom_repos is True

    @property
    def without_custom_repos(self) -> bool:
        return self.accepted and self.has_custom_repos is False

    @property
    def with_defaults(self) -> bool:
        return self.accepted and self.has_defaults is True

    @property
    def without_defaults(self) -> bool:
        return self.accepted and self.has_defaults is False

    @property
    def with_rootfs_size(self) -> bool:
        return self.accepted and self.has_rootfs_size is True

    @property
    def without_rootfs_size(self) -> bool:
        return self.accepted and self.has_rootfs_size is False

    @property
    def with_package_count(self) -> bool:
        return self.accepted and self.has_package_count


class Wait(NamedTuple):
    """A request whose build has ended, with the status of that build: a row of `client_stats`."""

    status: str | None  # `None` while the request waits, or if it never waited
    has_start: bool  # whether it is known when the build started

    @property
    def succeeded(self) -> bool:
        return self.status == "success"

    @property
    def failed(self) -> bool:
        return self.status in FAILED_STATUSES

    @property
    def timed(self) -> bool:
        """Whether it is known how long the request waited for the start of its build."""
        return self.status is not None and self.has_start


class Build(NamedTuple):
    """A build that has ended: a row of `build_metrics`."""

    status: str
    duration_seconds: int | None
    diff_packages: bool | None

    @property
    def succeeded(self) -> bool:
        return self.status == "success"

    @property
    def failed(self) -> bool:
        return self.status in FAILED_STATUSES

    @property
    def timed_out(self) -> bool:
        return self.status == "timeout"

    @property
    def cancelled(self) -> bool:
        return self.status == "cancelled"

    @property
    def with_duration(self) -> bool:
        return self.duration_seconds is not None

    @property
    def timed(self) -> bool:
        """Whether it succeeded with a known duration."""
        return self.succeeded and self.duration_seconds is not None

    @property
    def timed_seconds(self) -> int:
        """Duration, 0 unless `timed`."""
        return (self.duration_seconds or 0) if self.timed else 0

    @property
    def succeeded_with_diff_packages(self) -> bool:
        return self.succeeded and self.diff_packages is True

    @property
    def succeeded_without_diff_packages(self) -> bool:
        return self.succeeded and self.diff_packages is False


class Attempt(NamedTuple):
    """A build that has ended, with who asked for it: a row of `build_metrics`."""

    status: str

    @property
    def succeeded(self) -> bool:
        return self.status == "success"

    @property
    def failed(self) -> bool:
        return self.status in FAILED_STATUSES


class Error(NamedTuple):
    """A rejected request or a failed build: a row of `error_stats`."""

    errors: int
    is_rejection: bool

    @property
    def rejections(self) -> int:
        return self.errors if self.is_rejection else 0


class Phase(NamedTuple):
    """A phase of a successful build: a member of `phases` of a row of `build_metrics`."""

    builds: int


Fact: TypeAlias = Request | RequestOptions | Wait | Build | Attempt | Error | Phase
