"""What insights remember of days is what the database has, whenever it changed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asu_stats.store.blocks import cached
from asu_stats.store.verification import verify
from tests import histories
from tests.insights.archiving import archive
from tests.insights.test_failures import with_texts
from tests.support import NOW, CloudEvent, Stats

NAMES = ("failures", "fingerprints", "packages", "regressions", "cache", "phases", "capacity")


def responses(stats: Stats) -> dict[str, Any]:
    return {name: stats.get(f"insights/{name}", days=60) for name in NAMES}


@given(history=histories.histories(), cut=st.integers(1, 70), then=st.sampled_from("abc"))
@histories.examples(4)
def test_late_events_and_other_changes_are_noticed(
    stats: Stats, history: list[CloudEvent], cut: int, then: str
) -> None:
    """Late events, archived details, rebuilt rollups, and after each an answer from memory."""
    stats.clear()
    history = with_texts(history)
    for part in (history[:cut], history[cut:]):
        if part:
            stats.record(part)
        responses(stats)
    match then:
        case "a":
            archive(stats, "tables")
        case "b":
            verify.rebuild(stats.engine)
    remembered = responses(stats)
    cached.forget(stats.engine)
    assert responses(stats) == remembered
    assert NOW.date().isoformat() == remembered["phases"]["period"]["end"]
