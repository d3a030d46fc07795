"""`python -m benchmarks.alarms`: false alarms and missed incidents of the alert rules.

Plays generated histories of several sizes and seeds, without faults and with injected ones. Reports
false alarms, incidents found, whether a message names the cause, other messages, and the delay of
the first message.
"""

import argparse
import json
import pickle
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from asu_stats.events import Event
from benchmarks import alarm_histories
from benchmarks.alarm_histories import Fault, Message, is_about, names_cause
from benchmarks.report import Table, Target, as_text, targets_table

SIZES: Final = {150: 410, 550: 1_500, 5_000: 13_600}  # builds a day, and requests
_PAST_DAYS: Final = {150: 14, 550: 14, 5_000: 4}
_MONTH: Final = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one fault. `minutes` is the delay of the first message, `None` if missed."""

    kind: str
    minutes: float | None
    named: bool
    messages: int


@dataclass(frozen=True, slots=True)
class HistoryResult:
    """The results for one history."""

    size: int
    seed: int
    days: int
    false_alarms: int  # messages without faults
    outcomes: Sequence[Outcome]
    other_messages: int  # messages that are not about an injected fault


def main() -> None:
    """Play the histories and print the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.alarms", description=__doc__)
    parser.add_argument("--days", type=int, default=12)
    parser.add_argument("--incidents", type=int, default=8)
    parser.add_argument("--step", type=int, default=10, help="minutes between evaluations")
    parser.add_argument("--seeds", default="1-10", help="first and last seed")
    parser.add_argument("--sizes", default="150,550,5000", help="builds a day")
    parser.add_argument("--keep", type=Path, help="directory in which histories stay")
    parser.add_argument("--json", type=Path, help="file to write all results to")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split("-"))
    sizes = list(map(int, options.sizes.split(",")))
    if set(sizes) - SIZES.keys():
        parser.error(f"--sizes: choose from {', '.join(map(str, SIZES))}")
    results = [
        play(size, seed, options.days, options.incidents, options.step, options.keep)
        for size in sizes
        for seed in range(first, last + 1)
    ]
    print(f"\n{as_text(by_size(results))}\n\n{as_text(by_kind(results))}\n")
    targets = targets_of(results)
    print(as_text(targets_table(targets)))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in results], indent=1))
    sys.exit(0 if all(target.ok for target in targets) else 1)


def play(
    size: int, seed: int, days: int, incidents: int, step: int, keep: Path | None
) -> HistoryResult:
    """Play one history twice, without faults and with them."""
    normal_history = _normal_history(size, seed, days, keep)
    print(f"{size:,} builds a day, seed {seed}", flush=True)
    without_faults = alarm_histories.Scenario(list(normal_history), [])
    false_alarms = alarm_histories.play(without_faults, days=days, step_minutes=step)
    for message in false_alarms:
        print(f"  false: {message.opened_at:%d %H:%M} {message.title}", flush=True)
    with_faults = alarm_histories.scenario_of(
        normal_history, days=days, incidents=incidents, seed=seed
    )
    found = alarm_histories.play(with_faults, days=days, step_minutes=step)
    outcomes, other_messages = _outcomes(with_faults.faults, found)
    return HistoryResult(size, seed, days, len(false_alarms), outcomes, other_messages)


def _normal_history(size: int, seed: int, days: int, keep: Path | None) -> list[Event]:
    file = keep and keep / f"alarms-{size}-{seed}-{days}.pickle"
    if file and file.exists():
        kept: list[Event] = pickle.loads(file.read_bytes())  # noqa: S301 - written below
        return kept
    events = alarm_histories.normal_history(
        days=days + _PAST_DAYS[size], per_day=SIZES[size], seed=seed
    )
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(events))
    return events


def _outcomes(faults: Sequence[Fault], found: Sequence[Message]) -> tuple[list[Outcome], int]:
    """Print and return the result of each fault; also return the number of other messages."""
    outcomes, more = [], list(found)
    for fault in faults:
        about = [message for message in more if is_about(message, fault)]
        more = [message for message in more if message not in about]
        subject = getattr(fault, fault.kind, "")
        print(f"  {fault.start:%d %H:%M} {fault.kind} {subject}: ", end="")
        if not about:
            print("MISSED", flush=True)
            outcomes.append(Outcome(fault.kind, None, named=False, messages=0))
            continue
        minutes = (about[0].opened_at - fault.start).total_seconds() / 60
        named = any(names_cause(message, fault) for message in about)
        print(f"{minutes:.0f} min" + ("" if named else ", cause not named"), end=": ")
        print("; ".join(message.title for message in about), flush=True)
        outcomes.append(Outcome(fault.kind, minutes, named, len(about)))
    for message in more:
        print(f"  other: {message.opened_at:%d %H:%M} {message.title}", flush=True)
    return outcomes, len(more)


def by_size(results: Sequence[HistoryResult]) -> Table:
    """Return a row per size: totals, and the range over the seeds."""
    rows: list[Sequence[object]] = []
    for size in sorted({each.size for each in results}):
        of_size = [each for each in results if each.size == size]
        shares = [100 * _share(each.outcomes, "found") for each in of_size]
        late = [_median(each.outcomes) for each in of_size]
        every = [outcome for each in of_size for outcome in each.outcomes]
        rows.append(
            (
                size,
                len(of_size),
                f"{sum(each.minutes is not None for each in every)} of {len(every)}",
                f"{min(shares):.0f}-{max(shares):.0f}",
                100 * _share(every, "named"),
                f"{min(late):.0f}-{max(late):.0f}",
                sum(each.messages for each in every) / max(1, _count(every)),
                sum(each.other_messages for each in of_size),
                sum(each.false_alarms for each in of_size),
                sum(each.days for each in of_size),
            )
        )
    columns = (
        *("builds a day", "seeds", "found", "% per seed", "named %", "median min per seed"),
        *("messages each", "other messages", "false alarms", "days without faults"),
    )
    return Table("Alerts by size", columns, rows)


def by_kind(results: Sequence[HistoryResult]) -> Table:
    """Return a row per kind of incident and size."""
    rows: list[Sequence[object]] = []
    for kind in alarm_histories.KINDS:
        for size in sorted({each.size for each in results}):
            every = [
                outcome
                for each in results
                if each.size == size
                for outcome in each.outcomes
                if outcome.kind == kind
            ]
            late = [each.minutes for each in every if each.minutes is not None]
            found = f"{len(late)} of {len(every)}"
            times: tuple[object, object] = (median(late), max(late)) if late else (None, None)
            rows.append((kind, size, found, sum(each.named for each in every), *times))
    columns = ("kind", "builds a day", "found", "named", "median min", "longest min")
    return Table("Alerts by kind of incident", columns, rows)


def targets_of(results: Sequence[HistoryResult]) -> list[Target]:
    """Return what is asked of each size."""
    targets = []
    for size in sorted({each.size for each in results}):
        of_size = [each for each in results if each.size == size]
        every = [outcome for each in of_size for outcome in each.outcomes]
        months = sum(each.days for each in of_size) / _MONTH
        of = f"at {size:,} builds a day"
        targets += [
            Target(
                "alarms", f"incidents found {of}, %", 100 * _share(every, "found"), "at least", 95
            ),
            Target("alarms", f"causes named {of}, %", 100 * _share(every, "named"), "at least", 95),
            Target(
                "alarms",
                f"false alarms a month {of}",
                sum(each.false_alarms for each in of_size) / months,
                "at most",
                1,
            ),
        ]
    return targets


def _count(outcomes: Sequence[Outcome]) -> int:
    return sum(each.minutes is not None for each in outcomes)


def _share(outcomes: Sequence[Outcome], what: Any) -> float:
    """Return the share of incidents that were found, or of those found whose cause was named."""
    if what == "found":
        return _count(outcomes) / max(1, len(outcomes))
    return sum(each.named for each in outcomes) / max(1, _count(outcomes))


def _median(outcomes: Sequence[Outcome]) -> float:
    return median([each.minutes for each in outcomes if each.minutes is not None] or [0.0])


if __name__ == "__main__":
    main()
