"""The simulated world as data: devices, versions and clients, and since when they exist."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from typing import Final, Literal, TypeAlias

from asu_stats.builds.catalogue import branch_of
from asu_stats.events import split_client
from asu_stats.releases import MAIN, release_order

VersionKind: TypeAlias = Literal["release", "candidate", "snapshot"]

# Families of targets that were dropped or renamed: the last and the first branch with them.
LAST_BRANCH: Final = {"bcm63xx": "23.05", "ipq807x": "23.05", "oxnas": "23.05"}
FIRST_BRANCH: Final = {"qualcommax": "24.10"}

_OWUT: Final = re.compile(r"owut/(\d{4})\.(\d\d)\.(\d\d)")
_LUCI: Final = re.compile(r"luci/(?:git-)?(\d\d)\.(\d{3})\.")


@dataclass(frozen=True, slots=True)
class Device:
    """A device with images."""

    target: str
    profile: str
    title: str

    def is_in(self, branch: str) -> bool:
        """Return whether a branch has the device's target."""
        return has_target(branch, self.target)


@dataclass(frozen=True, slots=True)
class Version:
    """A version; main (`SNAPSHOT`) has always existed."""

    name: str
    released: date | None

    @property
    def branch(self) -> str:
        """Name of the branch, such as `24.10`."""
        return branch_of(self.name)

    @property
    def kind(self) -> VersionKind:
        """Kind of version."""
        if self.name.endswith(MAIN):
            return "snapshot"
        return "candidate" if "-rc" in self.name else "release"

    def exists_on(self, day: date) -> bool:
        """Return whether the version existed on a day."""
        return self.released is None or self.released <= day

    def age_days(self, day: date) -> int:
        """Return the age of the version in days; main counts as old."""
        return (day - (self.released or date.min)).days


@dataclass(frozen=True, slots=True)
class Client:
    """A client string, and how common it is."""

    text: str
    weight: int

    @property
    def name(self) -> str:
        """Name of the client, without its version."""
        return split_client(self.text)[0]

    @property
    def since(self) -> date | None:
        """Release day of the client, if its version contains it."""
        if match := _OWUT.match(self.text):
            return date(*map(int, match.groups()))
        if match := _LUCI.match(self.text):
            year, day_of_year = map(int, match.groups())
            return date(2000 + year, 1, 1) + timedelta(days=day_of_year - 1)
        return None

    def exists_on(self, day: date) -> bool:
        """Return whether the client existed on a day."""
        return self.since is None or self.since <= day


@dataclass(frozen=True, slots=True)
class World:
    """All devices, versions and clients; versions of a branch are sorted by age."""

    devices: tuple[Device, ...]
    versions: tuple[Version, ...]
    clients: tuple[Client, ...]

    def versions_on(self, day: date) -> list[Version]:
        """Return the versions that existed on a day."""
        return [version for version in self.versions if version.exists_on(day)]

    def clients_on(self, day: date) -> list[Client]:
        """Return the clients that existed on a day."""
        return [client for client in self.clients if client.exists_on(day)]

    def branches(self) -> list[str]:
        return sorted({version.branch for version in self.versions}, key=branch_key)


def branch_key(branch: str) -> str:
    """Return a sort key of branches by age; main comes last."""
    return release_order(branch)


def has_target(branch: str, target: str) -> bool:
    """Return whether a branch has a target."""
    family, key = target.partition("/")[0], branch_key(branch)
    last, first = LAST_BRANCH.get(family, MAIN), FIRST_BRANCH.get(family, "0")
    return branch_key(first) <= key <= branch_key(last)


def read_csv(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file in the package."""
    source = resources.files("asu_stats") / "data" / name
    return csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"), newline=""))


@cache
def load() -> World:
    """Return the world from the data files of the package."""
    return World(
        devices=tuple(
            Device(row["target"], row["profile"], row["title"]) for row in read_csv("devices.csv")
        ),
        versions=tuple(
            Version(
                row["version"], date.fromisoformat(row["released"]) if row["released"] else None
            )
            for row in read_csv("versions.csv")
        ),
        clients=tuple(Client(row["client"], int(row["weight"])) for row in read_csv("clients.csv")),
    )
