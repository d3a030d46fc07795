"""`python -m benchmarks.alarms`: how often alerts cry wolf, and what they miss.

Campaigns on generated histories of several sizes and seeds: days on which only the usual happens,
and the same days with incidents in them. Reported are false alarms, incidents found by a message
about them, whether the message names the cause, further messages, and how late the first one was.
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
from benchmarks.alarm_histories import Told, Trouble, is_about, names_cause
from benchmarks.report import Mark, Table, as_text, marks_table

SIZES: Final = {150: 410, 550: 1_500, 5_000: 13_600}  # builds a day, and requests
_PAST_DAYS: Final = {150: 14, 550: 14, 5_000: 4}
_MONTH: Final = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one incident; `minutes` is `None` if it was missed."""

    kind: str
    minutes: float | None
    named: bool
    messages: int


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one history."""

    size: int
    seed: int
    days: int
    quiet: int  # messages on the days without incidents
    outcomes: Sequence[Outcome]
    besides: int  # messages about nothing that was put in


def main() -> None:
    """Play the campaigns."""
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
    played = [
        play(size, seed, options.days, options.incidents, options.step, options.keep)
        for size in sizes
        for seed in range(first, last + 1)
    ]
    print(f"\n{as_text(by_size(played))}\n\n{as_text(by_kind(played))}\n")
    marks = marks_of(played)
    print(as_text(marks_table(marks)))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in played], indent=1))
    sys.exit(0 if all(mark.ok for mark in marks) else 1)


def play(size: int, seed: int, days: int, incidents: int, step: int, keep: Path | None) -> Played:
    """Play one history twice, without incidents and with them."""
    usual = _usual(size, seed, days, keep)
    print(f"{size:,} builds a day, seed {seed}", flush=True)
    no_incident = alarm_histories.Story(list(usual), [])
    quiet = alarm_histories.play(no_incident, days=days, step_minutes=step)
    for told in quiet:
        print(f"  false: {told.opened_at:%d %H:%M} {told.title}", flush=True)
    spoiled = alarm_histories.story(usual, days=days, incidents=incidents, seed=seed)
    found = alarm_histories.play(spoiled, days=days, step_minutes=step)
    outcomes, besides = _outcomes(spoiled.troubles, found)
    return Played(size, seed, days, len(quiet), outcomes, besides)


def _usual(size: int, seed: int, days: int, keep: Path | None) -> list[Event]:
    file = keep and keep / f"alarms-{size}-{seed}-{days}.pickle"
    if file and file.exists():
        kept: list[Event] = pickle.loads(file.read_bytes())  # noqa: S301 - written below
        return kept
    events = alarm_histories.usual(days=days + _PAST_DAYS[size], per_day=SIZES[size], seed=seed)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(events))
    return events


def _outcomes(troubles: Sequence[Trouble], found: Sequence[Told]) -> tuple[list[Outcome], int]:
    """Print what became of each incident; return that and the number of other messages."""
    outcomes, more = [], list(found)
    for trouble in troubles:
        about = [told for told in more if is_about(told, trouble)]
        more = [told for told in more if told not in about]
        subject = getattr(trouble, trouble.kind, "")
        print(f"  {trouble.start:%d %H:%M} {trouble.kind} {subject}: ", end="")
        if not about:
            print("MISSED", flush=True)
            outcomes.append(Outcome(trouble.kind, None, named=False, messages=0))
            continue
        minutes = (about[0].opened_at - trouble.start).total_seconds() / 60
        named = any(names_cause(told, trouble) for told in about)
        print(f"{minutes:.0f} min" + ("" if named else ", cause not named"), end=": ")
        print("; ".join(told.title for told in about), flush=True)
        outcomes.append(Outcome(trouble.kind, minutes, named, len(about)))
    for told in more:
        print(f"  besides: {told.opened_at:%d %H:%M} {told.title}", flush=True)
    return outcomes, len(more)


def by_size(played: Sequence[Played]) -> Table:
    """Return a row per size: totals, and the range over the seeds."""
    rows: list[Sequence[object]] = []
    for size in sorted({each.size for each in played}):
        mine = [each for each in played if each.size == size]
        shares = [100 * _share(each.outcomes, "found") for each in mine]
        late = [_median(each.outcomes) for each in mine]
        every = [outcome for each in mine for outcome in each.outcomes]
        rows.append(
            (
                size,
                len(mine),
                f"{sum(each.minutes is not None for each in every)} of {len(every)}",
                f"{min(shares):.0f}-{max(shares):.0f}",
                100 * _share(every, "named"),
                f"{min(late):.0f}-{max(late):.0f}",
                sum(each.messages for each in every) / max(1, _count(every)),
                sum(each.besides for each in mine),
                sum(each.quiet for each in mine),
                sum(each.days for each in mine),
            )
        )
    columns = (
        *("builds a day", "seeds", "found", "% per seed", "named %", "median min per seed"),
        *("messages each", "besides", "false", "quiet days"),
    )
    return Table("Alerts by size", columns, rows)


def by_kind(played: Sequence[Played]) -> Table:
    """Return a row per kind of incident and size."""
    rows: list[Sequence[object]] = []
    for kind in alarm_histories.KINDS:
        for size in sorted({each.size for each in played}):
            every = [
                outcome
                for each in played
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


def marks_of(played: Sequence[Played]) -> list[Mark]:
    """Return what is asked of each size."""
    marks = []
    for size in sorted({each.size for each in played}):
        mine = [each for each in played if each.size == size]
        every = [outcome for each in mine for outcome in each.outcomes]
        months = sum(each.days for each in mine) / _MONTH
        of = f"at {size:,} builds a day"
        marks += [
            Mark(
                "alarms", f"incidents found {of}, %", 100 * _share(every, "found"), "at least", 95
            ),
            Mark("alarms", f"causes named {of}, %", 100 * _share(every, "named"), "at least", 95),
            Mark(
                "alarms",
                f"false alarms a month {of}",
                sum(each.quiet for each in mine) / months,
                "at most",
                1,
            ),
        ]
    return marks


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
