"""Counts how often each question of the API waits for a PostgreSQL behind a proxy."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Engine

from asu_stats.demo.history import history
from asu_stats.reports.endpoints import REPORTS
from asu_stats.store.apply import apply_batch
from asu_stats.store.blocks import cached, packer
from asu_stats.store.rollups import names
from tests import servers
from tests.support import NOW, Stats, build, request

# `new`: nothing of the database is in memory. `changed`: a request and its failed build were
# recorded since the question was asked. `known`: it is asked once more.
State = Literal["new", "changed", "known"]
STATES: Final[tuple[State, ...]] = ("new", "changed", "known")

_DAYS: Final = 40
_DEVICE: Final = {"version": "24.10.2", "target": "ath79/generic"}
_PROFILE: Final = "tplink_archer-c7-v5"
_NEW: Final = itertools.count()
# Questions that read other tables than the same report does without parameters.
_FURTHER: Final = (
    "overview?hours=24",
    "overview?start=2026-09-01&end=2026-09-20",
    "versions?target=ath79/generic",
    "targets?version=24.10.2",
    "profiles?version=24.10.2&target=ath79/generic",
    "packages?version=24.10.2",
    "packages?target=ath79/generic",
    "performance?version=24.10.2",
    "diff-packages?version=24.10.2",
    "timeseries?interval=month",
    "timeseries?interval=hour&days=2",
    "timeseries?version=24.10.2",
    "timeseries?client=luci",
    "comparison?start=2026-09-20&end=2026-09-26",
    "errors/timeseries?target=ath79/generic",
    "insights/failures?client=luci",
    "insights/capacity?ttl_seconds=3600",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its round trips: the statements of each, and how long it took."""

    question: str
    state: State
    trips: Sequence[Sequence[str]]
    seconds: float


def questions() -> list[str]:
    """Return every report of the API, and variants that read something else."""
    with_subject = {
        "clients/{client}": "clients/luci",
        "insights/fingerprints/{fingerprint}": "insights/fingerprints/{fingerprint}",
    }
    return [*(with_subject.get(report.name, report.name) for report in REPORTS), *_FURTHER, "now"]


def fill(engine: Engine, requests: int) -> None:
    """Write some history."""
    events = history(days=_DAYS, requests=requests, now=NOW)
    while batch := list(itertools.islice(events, 5_000)):
        apply_batch(engine, batch)
    packer.pack(engine, NOW.date())


@contextlib.contextmanager
def service(server: servers.Server, port: int, directory: Path) -> Iterator[Stats]:
    """Run a service behind a proxy. It prepares no statements, so each message has its text."""
    with Stats.on(f"{server.url(port)}?prepare_threshold=0", directory / "spool") as stats:
        yield stats


def ask(stats: Stats, proxy: servers.Proxy, question: str) -> Iterator[Asked]:
    """Ask a question in each state."""
    if "{fingerprint}" in question:
        found = stats.get("insights/fingerprints")["fingerprints"][0]["fingerprint"]
        question = question.replace("{fingerprint}", found)
    for state in STATES:
        if state != "known":
            change(stats)
        if state == "new":
            cached.forget(stats.engine)
            names.forget()
        yield ask_once(stats, proxy, question, state)


def ask_once(stats: Stats, proxy: servers.Proxy, question: str, state: State) -> Asked:
    """Ask a question."""
    proxy.waited_for.clear()
    begin = time.perf_counter()
    _get(stats, question)
    seconds = time.perf_counter() - begin
    return Asked(question, state, list(proxy.waited_for), seconds)


def _get(stats: Stats, question: str) -> None:
    answer = stats.client.get(f"/api/v1/stats/{question}")
    assert answer.status_code == 200, answer.text


def change(stats: Stats) -> None:
    """Record a request with a new package, and its failed build."""
    name = f"new {next(_NEW)}"
    stats.record(
        request(name, profile=_PROFILE, packages=["luci", name.replace(" ", "-")], **_DEVICE),
        build(name, "failure", error_message=f"Package {name} is missing"),
    )


_PARTS: Final[tuple[tuple[str, Callable[[str], bool]], ...]] = (
    ("begin", lambda text: text.startswith("BEGIN")),
    ("settings", lambda text: "set_config" in text),
    ("end", lambda text: text in {"COMMIT", "ROLLBACK"}),
    ("check", lambda text: text == "SELECT 1"),
    ("counter", lambda text: text.startswith("SELECT store_state.changes")),
    ("changes", lambda text: "FROM day_changes" in text),
    ("blocks", lambda text: "packed_days" in text),
)


def described(trip: Sequence[str]) -> str:
    """Return what the statements of a round trip are for."""
    found: dict[str, int] = {}
    for text in trip:
        flat = " ".join(text.split())
        name = next((name for name, is_it in _PARTS if is_it(flat)), None) or _table(flat)
        found[name] = found.get(name, 0) + 1
    return ", ".join(name if n == 1 else f"{n} x {name}" for name, n in found.items())


def _table(text: str) -> str:
    """Return the first table that a statement reads, or its beginning."""
    words = text.replace("(", " ").replace(")", " ").split()
    tables = [after for word, after in itertools.pairwise(words) if word in {"FROM", "JOIN"}]
    return next((t for t in tables if t not in {"SELECT", "unnest"}), text[:40])
