"""Simulated users: which image a user requests on a day, depending on the client."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from itertools import accumulate
from typing import Final, Generic, TypeVar

from asu_stats.builds.catalogue import branch_of
from asu_stats.builds.requests import BuildRequest
from asu_stats.demo import packages, popularity
from asu_stats.demo.world import World, branch_key
from asu_stats.events import split_client
from asu_stats.releases import MAIN

T = TypeVar("T")

# Share of requests that repeat a recent one: many users have the same device and change nothing,
# and many request twice.
_AGAIN: Final = 0.55
_AGAIN_AT_ONCE: Final = 0.1
_AT_ONCE: Final = 4
_SAME_PERSON: Final = 0.5


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request before it is sent."""

    client: str
    version: str
    target: str
    profile: str
    packages: tuple[str, ...]
    diff_packages: bool
    rootfs_size_mb: int | None
    request_hash: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class ClientBehaviour:
    """Behaviour of the users of one client: probabilities, and the branches that include it."""

    diff_packages: float
    upgrader: float
    extra: float
    first_branch: str = "0"
    last_branch: str = MAIN


MANNERS: Final = {
    "ofs": ClientBehaviour(diff_packages=0.55, upgrader=0.5, extra=0.12),
    "luci": ClientBehaviour(diff_packages=0.97, upgrader=1.0, extra=0.4),
    "owut": ClientBehaviour(diff_packages=0.96, upgrader=0.6, extra=0.55, first_branch="24.10"),
    "auc": ClientBehaviour(diff_packages=0.85, upgrader=0.3, extra=0.5, last_branch="24.10"),
    "asu-web": ClientBehaviour(diff_packages=0.2, upgrader=0.4, extra=0.1),
}
_OTHERS: Final = ClientBehaviour(diff_packages=0.1, upgrader=0.1, extra=0.3)
# Share of requests with a root file system size, and the sizes in MiB with weights.
_SIZED: Final = {"ofs": 0.03, "owut": 0.06}
_SIZES: Final = {128: 2, 256: 5, 300: 1, 512: 6, 768: 1, 1000: 1, 1024: 4}


class WeightedChoice(Generic[T]):
    """Items to draw from, each with its weight."""

    def __init__(self, things: Sequence[T], weights: Sequence[float]) -> None:
        self._things = things
        self._sums = list(accumulate(weights))

    def draw(self, chance: random.Random) -> T:
        return chance.choices(self._things, cum_weights=self._sums)[0]


class _Day:
    """Choices of one day."""

    def __init__(self, world: World, day: date) -> None:
        self.date = day
        self._shares = popularity.version_shares(world, day)
        self._clients = world.clients_on(day)
        self._versions: dict[str, WeightedChoice[str]] = {}
        self._versions_of_client: dict[str, WeightedChoice[str]] = {}

    @cached_property
    def clients(self) -> WeightedChoice[str]:
        clients = self._clients
        return WeightedChoice([each.text for each in clients], [each.weight for each in clients])

    def same_client(self, name: str) -> WeightedChoice[str]:
        """Return the versions of one client."""
        if name not in self._versions_of_client:
            clients = [each for each in self._clients if each.name == name]
            self._versions_of_client[name] = WeightedChoice(
                [each.text for each in clients], [each.weight for each in clients]
            )
        return self._versions_of_client[name]

    def versions(self, client: str, manner: ClientBehaviour) -> WeightedChoice[str]:
        """Return the versions whose branches include a client; all, if none does."""
        if client not in self._versions:
            first, last = branch_key(manner.first_branch), branch_key(manner.last_branch)
            shares = {
                version: share
                for version, share in self._shares.items()
                if first <= branch_key(branch_of(version)) <= last
            } or self._shares
            self._versions[client] = WeightedChoice(list(shares), list(shares.values()))
        return self._versions[client]


class Crowd:
    """Users with devices. Their requests depend on the day, the seed and earlier requests.

    `remembered` is the number of recent requests that can be repeated.
    """

    def __init__(self, world: World, *, seed: int, remembered: int = 1000) -> None:
        self._world = world
        self._chance = random.Random(f"crowd {seed}")  # noqa: S311 - a simulation
        self._size_chance = random.Random(f"sizes {seed}")  # noqa: S311 - a simulation
        self._order = popularity.by_popularity(world.devices, seed=seed)
        self._weights = popularity.zipf_weights(len(self._order))
        self._devices: dict[str, WeightedChoice[tuple[str, str]]] = {}
        self._lately: deque[PlannedRequest] = deque(maxlen=max(10, remembered))
        self._day: _Day | None = None

    def plan(self, day: date) -> PlannedRequest:
        """Return a request of a day, often a repetition of a recent one."""
        lately, chance = self._lately, self._chance
        if len(lately) < _AT_ONCE or chance.random() >= _AGAIN:
            return self.plan_new(day)
        at_once = chance.random() < _AGAIN_AT_ONCE
        place = -chance.randint(1, _AT_ONCE) if at_once else chance.randrange(len(lately))
        planned = lately[place]
        if chance.random() >= _SAME_PERSON:
            name = split_client(planned.client)[0]
            client = self._on(day).same_client(name).draw(chance)
            planned = replace(planned, client=client)
        lately.append(planned)
        return planned

    def plan_new(self, day: date) -> PlannedRequest:
        """Return a request that repeats no other."""
        chance, today = self._chance, self._on(day)
        client = today.clients.draw(chance)
        name = split_client(client)[0]
        manner = MANNERS.get(name, _OTHERS)
        version = today.versions(name, manner).draw(chance)
        branch = branch_of(version)
        target, profile = self._devices_of(branch).draw(chance)
        diff_packages = chance.random() < manner.diff_packages
        planned = make(
            client=client,
            version=version,
            target=target,
            profile=profile,
            diff_packages=diff_packages,
            names=packages.choose(
                chance,
                branch=branch,
                target=target,
                whole=diff_packages,
                upgrader=manner.upgrader,
                extra=manner.extra,
            ),
            rootfs_size_mb=self._rootfs_size(name),
        )
        self._lately.append(planned)
        return planned

    def _rootfs_size(self, client: str) -> int | None:
        chance = self._size_chance
        if chance.random() >= _SIZED.get(client, 0.0):
            return None
        return chance.choices(list(_SIZES), list(_SIZES.values()))[0]

    def _on(self, day: date) -> _Day:
        if self._day is None or self._day.date != day:
            self._day = _Day(self._world, day)
        return self._day

    def _devices_of(self, branch: str) -> WeightedChoice[tuple[str, str]]:
        if branch not in self._devices:
            there = [
                ((device.target, device.profile), weight)
                for device, weight in zip(self._order, self._weights, strict=True)
                if device.is_in(branch)
            ]
            self._devices[branch] = WeightedChoice(
                [key for key, _ in there], [each for _, each in there]
            )
        return self._devices[branch]


def make(
    *,
    client: str,
    version: str,
    target: str,
    profile: str,
    diff_packages: bool,
    names: tuple[str, ...],
    rootfs_size_mb: int | None = None,
) -> PlannedRequest:
    """Return a planned request with the hash that the build service gives it."""
    request = BuildRequest(
        version=version,
        target=target,
        profile=profile,
        packages=list(names),
        diff_packages=diff_packages,
        rootfs_size_mb=rootfs_size_mb,
    )
    return PlannedRequest(
        client=client,
        version=version,
        target=target,
        profile=profile,
        packages=names,
        diff_packages=diff_packages,
        rootfs_size_mb=rootfs_size_mb,
        request_hash=request.request_hash,
    )
