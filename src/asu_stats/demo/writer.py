"""Writes the events of the simulation.

The events are constructed directly, not by `cloudevents.new`, which takes ten times as long. All
names come from package data, and a test passes the events through the parser.
"""

import math
from datetime import datetime, timedelta

from asu_stats.demo.crowd import PlannedRequest
from asu_stats.demo.farm import Build
from asu_stats.demo.troubles import kind_of_text
from asu_stats.events import (
    BuildFinished,
    BuildStarted,
    Names,
    Outcome,
    RequestReceived,
    split_client,
)


class Writer:
    """Makes events with their own identities.

    `key` distinguishes histories; times are seconds since `midnight`.
    """

    def __init__(self, source: str, key: str, midnight: datetime) -> None:
        self._source = source
        self._key = key
        self._midnight = midnight
        self._requests = 0

    def request(
        self,
        planned: PlannedRequest,
        at: float,
        outcome: Outcome,
        *,
        error_message: str | None = None,
    ) -> RequestReceived:
        """Return the event of a request; `error_message` says why it was rejected."""
        self._requests += 1
        client, client_version = split_client(planned.client)
        kind = kind_of_text(error_message, "rejected") if error_message else None
        return RequestReceived(
            source=self._source,
            id=f"demo:{self._key}:request:{self._requests}",
            time=self._time(at),
            request_hash=planned.request_hash,
            outcome=outcome,
            version=planned.version,
            target=planned.target,
            profile=planned.profile,
            diff_packages=planned.diff_packages,
            client=client,
            client_version=client_version,
            packages=planned.packages,
            package_count=len(planned.packages),
            has_custom_repos=kind is not None and kind.type == "repository_not_allowed",
            has_defaults=kind is not None and kind.type == "defaults_not_allowed",
            rootfs_size_mb=planned.rootfs_size_mb or 0,
            error_message=error_message,
            error_category=kind.category if kind else None,
            error_type=kind.type if kind else None,
        )

    def started(self, planned: PlannedRequest, build: Build) -> BuildStarted:
        """Return the start event of a build."""
        return BuildStarted(
            source=f"{self._source}/workers/{build.worker}",
            id=f"demo:{self._key}:started:{build.number}",
            time=self._time(build.started),
            build_id=f"demo-{self._key}-{build.number}",
            request_hash=planned.request_hash,
            worker_id=build.worker,
            names=_names(planned),
        )

    def finished(self, planned: PlannedRequest, build: Build) -> BuildFinished:
        """Return the end event of a build."""
        failure = build.failure
        kind = failure.kind if failure else None
        return BuildFinished(
            source=f"{self._source}/workers/{build.worker}",
            id=f"demo:{self._key}:finished:{build.number}",
            time=self._time(build.finished),
            build_id=f"demo-{self._key}-{build.number}",
            request_hash=planned.request_hash,
            status=failure.status if failure else "success",
            worker_id=build.worker,
            duration_seconds=math.floor(round(build.finished - build.started, 3) + 0.5),
            phases=build.phases,
            error_message=failure.text if failure else None,
            error_category=kind.category if kind else None,
            error_type=kind.type if kind else None,
            names=_names(planned),
        )

    def _time(self, at: float) -> datetime:
        return self._midnight + timedelta(milliseconds=round(at * 1000))


def _names(planned: PlannedRequest) -> Names:
    return Names(
        version=planned.version,
        target=planned.target,
        profile=planned.profile,
        diff_packages=planned.diff_packages,
    )
