"""Cubes: which sums blocks contain, declared as data.

A cube is a part of a rollup that some report needs, summed over days.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Date, Select, bindparam, func, select

from asu_stats.events import UNKNOWN
from asu_stats.releases import order_of
from asu_stats.store.blocks import codec
from asu_stats.store.blocks.keys import Key, Order
from asu_stats.store.database.dialects import Row
from asu_stats.store.details import known_packages, package_lists
from asu_stats.store.rollups.definitions import (
    ATTEMPTS,
    BUSY_SECONDS,
    CLIENT_DEVICES,
    CLIENT_UNIQUE_REJECTED,
    CLIENT_UNIQUE_REQUESTS,
    CLIENT_VERSIONS,
    CLIENTS,
    DURATIONS,
    ERRORS,
    GAPS,
    PACKAGE_COUNTS,
    PACKAGES,
    PHASES,
    PROFILES,
    ROOTFS_SIZES,
    UNIQUE_REJECTED,
    UNIQUE_REQUESTS,
    VERSION_TARGET,
    WAITS,
    Rollup,
)
from asu_stats.store.rollups.definitions import FAILURES as FAILED
from asu_stats.store.rollups.names import name_numbers

_DAY: Final = bindparam("day", type_=Date)
_DEVICE: Final = ("version", "target", "profile")


def _name_of(name: str, rollup: Rollup, key: tuple[str, ...], adds: tuple[str, ...]) -> str:
    """Return a name that contains a digest of the shape.

    A block that another release stored with another shape has another name.
    """
    shape = (codec.FORM, rollup.name, key, adds)
    return f"{name}-{blake2b(repr(shape).encode(), digest_size=3).hexdigest()}"


def _with_devices(_: Connection, rows: Sequence[Row]) -> list[Row]:
    """Return rows of a key that ends with a device, and a sum, with the device as three parts."""
    unknown = (UNKNOWN,) * len(_DEVICE)
    found: Counter[Key] = Counter()
    for *key, device, errors in rows:
        found[(*key, *(device or unknown))] += int(errors)
    return [(*key, errors) for key, errors in found.items()]


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """Sums of a daily rollup per `key`, which is its key or a part of it, without the day.

    Dates in a key are kept as ordinals.
    """

    name: str
    rollup: Rollup
    key: tuple[str, ...]
    adds: tuple[str, ...]
    of_day: Select[Any]
    # Converts the rows of `of_day` into rows of key and sums, if they are different.
    derive: Callable[[Connection, Sequence[Row]], Sequence[Row]] | None = None
    # Asks for what `derive` needs besides the rows, and does not wait for it.
    send: Callable[[Connection], None] | None = None

    @classmethod
    def of(
        cls, name: str, rollup: Rollup, key: tuple[str, ...], adds: tuple[str, ...] = ()
    ) -> "Cube":
        """Declare the cube of some of the sums of `rollup`, or of all of them."""
        t = rollup.table
        adds = adds or rollup.adds
        keys = [t.c[column] for column in key]
        sums: list[ColumnElement[int]] = [t.c[add] for add in adds]
        if key == rollup.key[1:]:  # each row of the rollup is a row of the cube
            of_day = select(*keys, *sums).where(t.c.date == _DAY)
        else:
            of_day = select(*keys, *map(func.sum, sums)).where(t.c.date == _DAY).group_by(*keys)
        return cls(_name_of(name, rollup, key, adds), rollup, key, adds, of_day)

    @classmethod
    def of_packages(cls, name: str) -> "Cube":
        """Declare the cube of packages by version, from the lists in `stats_packages`."""
        t, key = PACKAGES.table, ("version", "package")
        of_day = package_lists.with_packages(
            select(t.c.package_list, t.c.version, func.sum(t.c.requests).label("requests"))
            .where(t.c.date == _DAY)
            .group_by(t.c.package_list, t.c.version)
        )
        derive = package_lists.by_group
        full_name = _name_of(name, PACKAGES, key, PACKAGES.adds)
        return cls(full_name, PACKAGES, key, PACKAGES.adds, of_day, derive, known_packages.send)

    @classmethod
    def of_packages_of_builds(cls, name: str) -> "Cube":
        """Declare the cube of builds by package, from the lists in `stats_attempts`."""
        t, key = ATTEMPTS.table, ("package",)
        sums = (func.sum(t.c[add]).label(add) for add in ATTEMPTS.adds)
        of_day = package_lists.with_packages(
            select(t.c.package_list, *sums).where(t.c.date == _DAY).group_by(t.c.package_list)
        )
        derive = package_lists.in_total
        full_name = _name_of(name, ATTEMPTS, key, ATTEMPTS.adds)
        return cls(full_name, ATTEMPTS, key, ATTEMPTS.adds, of_day, derive, known_packages.send)

    @classmethod
    def of_fingerprints(cls, name: str) -> "Cube":
        """Declare the cube of errors by fingerprint and device."""
        t, stored = FAILED.table, ("fingerprint", "error_category", "error_type")
        keys = *(t.c[column] for column in stored), t.c.device
        errors = func.sum(t.c.failed_builds + t.c.rejected_requests).label("errors")
        found = select(*keys, errors).where(t.c.date == _DAY).group_by(*keys).subquery().c
        named = name_numbers.c.number == found.device
        of_day = select(
            *(found[column] for column in stored), name_numbers.c.names, found.errors
        ).select_from(found.device.table.outerjoin(name_numbers, named))
        key, adds = (*stored, *_DEVICE), ("errors",)
        return cls(_name_of(name, FAILED, key, adds), FAILED, key, adds, of_day, _with_devices)

    @property
    def orders(self) -> list[Order]:
        """Sort keys for each part of the key."""
        return [order_of(column) for column in self.key]

    def place(self, add: str) -> int:
        return self.adds.index(add)


_BUILDS: Final = PROFILES.adds
_REQUESTS: Final = ("request_count",)
_DIFF: Final = ("diff_packages_true", "diff_packages_false")

SECONDS: Final = Cube.of("seconds", DURATIONS, ("seconds",))
VERSION_SECONDS: Final = Cube.of("version_seconds", DURATIONS, ("version", "seconds"))
VERSIONS: Final = Cube.of("versions", VERSION_TARGET, ("version",), (*_BUILDS, *_DIFF))
VERSION_TARGETS: Final = Cube.of(
    "version_targets", VERSION_TARGET, ("version", "target"), _REQUESTS
)
TARGETS: Final = Cube.of("targets", VERSION_TARGET, ("target",), _BUILDS)
# From this rollup because it has fewer rows, which are stored in reading order.
TARGET_PROFILES: Final = Cube.of("target_profiles", CLIENT_DEVICES, ("target", "profile"))
BY_PROFILE: Final = Cube.of("profiles", PROFILES, ("profile",))
BY_CLIENT: Final = Cube.of("clients", CLIENTS, ("client",))
BY_CLIENT_RELEASE: Final = Cube.of(
    "client_releases", CLIENT_VERSIONS, ("client", "client_version"), ("requests",)
)
BY_CLIENT_VERSION: Final = Cube.of(
    "client_versions", CLIENT_VERSIONS, ("client", "version"), ("requests",)
)
PATTERNS: Final = Cube.of("patterns", CLIENT_VERSIONS, ("version", "client"))
BY_ROOTFS_SIZE: Final = Cube.of(
    "rootfs_sizes", ROOTFS_SIZES, ("version", "client", "rootfs_size_mb")
)
BY_PACKAGE_COUNT: Final = Cube.of(
    "package_counts", PACKAGE_COUNTS, ("version", "client", "package_count")
)
FAILURES: Final = Cube.of("errors", ERRORS, ("error_category", "error_type", "version"))
UNIQUE: Final = Cube.of("unique_requests", UNIQUE_REQUESTS, ("previous_date",))
CLIENT_UNIQUE: Final = Cube.of(
    "client_unique_requests", CLIENT_UNIQUE_REQUESTS, ("client", "previous_date")
)
REJECTED: Final = Cube.of("unique_rejected", UNIQUE_REJECTED, ("previous_date",))
CLIENT_REJECTED: Final = Cube.of(
    "client_unique_rejected", CLIENT_UNIQUE_REJECTED, ("client", "previous_date")
)
BY_GAP: Final = Cube.of("request_gaps", GAPS, ("gap_seconds",))
BUSY: Final = Cube.of("busy_seconds", BUSY_SECONDS, ("seconds",))
WAITED: Final = Cube.of("waits", WAITS, ("hour_of_week", "waited_seconds"))
PHASE_VERSIONS: Final = Cube.of("phase_versions", PHASES, ("phase", "version", "milliseconds"))
PHASE_WORKERS: Final = Cube.of("phase_workers", PHASES, ("phase", "worker", "milliseconds"))
BY_PACKAGE: Final = Cube.of_packages("packages")
FINGERPRINTS: Final = Cube.of_fingerprints("fingerprints")
BUILDS_BY_CLIENT: Final = Cube.of("builds_asked", ATTEMPTS, ("asker",))
BUILDS_BY_WORKER: Final = Cube.of("builds_made", ATTEMPTS, ("worker",))
BUILDS_BY_PACKAGE: Final = Cube.of_packages_of_builds("builds_with")
CUBES: Final = (
    FINGERPRINTS,
    BUILDS_BY_CLIENT,
    BUILDS_BY_WORKER,
    BUILDS_BY_PACKAGE,
    SECONDS,
    VERSION_SECONDS,
    VERSIONS,
    VERSION_TARGETS,
    TARGETS,
    TARGET_PROFILES,
    BY_PROFILE,
    BY_CLIENT,
    BY_CLIENT_RELEASE,
    BY_CLIENT_VERSION,
    PATTERNS,
    BY_ROOTFS_SIZE,
    BY_PACKAGE_COUNT,
    FAILURES,
    UNIQUE,
    CLIENT_UNIQUE,
    REJECTED,
    CLIENT_REJECTED,
    BY_GAP,
    BUSY,
    WAITED,
    PHASE_VERSIONS,
    PHASE_WORKERS,
    BY_PACKAGE,
)
NAMES: Final = [cube.name for cube in CUBES]
