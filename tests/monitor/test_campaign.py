"""A short campaign: nothing is told of quiet days, incidents are; the long one is a benchmark."""

from pathlib import Path

from benchmarks import alarm_histories


def test_quiet_days_are_quiet_and_incidents_are_found(tmp_path: Path) -> None:
    kinds = ("version", "stall")
    events = alarm_histories.usual(days=7, per_day=700, seed=1)
    told = alarm_histories.story(events, days=3, incidents=2, seed=1, kinds=kinds)

    found = alarm_histories.play_stored(told, tmp_path, days=3, step_minutes=20)

    for trouble in told.troubles:
        about = [each for each in found if alarm_histories.is_about(each, trouble)]
        assert any(alarm_histories.names_cause(each, trouble) for each in about), trouble
    besides = [
        each
        for each in found
        if not any(alarm_histories.is_about(each, one) for one in told.troubles)
    ]
    assert besides == []
    assert found == alarm_histories.play(told, days=3, step_minutes=20)
