"""A short campaign: nothing is told of quiet days, incidents are; the long one is a benchmark."""

from pathlib import Path

from benchmarks import alarm_stories


def test_quiet_days_are_quiet_and_incidents_are_found(tmp_path: Path) -> None:
    kinds = ("version", "stall")
    events = alarm_stories.usual(days=7, per_day=700, seed=1)
    told = alarm_stories.story(events, days=3, incidents=2, seed=1, kinds=kinds)

    found = alarm_stories.play_stored(told, tmp_path, days=3, step_minutes=20)

    for trouble in told.troubles:
        about = [each for each in found if alarm_stories.is_about(each, trouble)]
        assert any(alarm_stories.names_cause(each, trouble) for each in about), trouble
    besides = [
        each
        for each in found
        if not any(alarm_stories.is_about(each, one) for one in told.troubles)
    ]
    assert besides == []
    assert found == alarm_stories.play(told, days=3, step_minutes=20)
