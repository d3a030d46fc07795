"""A short campaign: nothing is told of quiet days, incidents are; the long one is a benchmark."""

from pathlib import Path

from benchmarks import alarms


def test_quiet_days_are_quiet_and_incidents_are_found(tmp_path: Path) -> None:
    kinds = ("version", "stall")
    told = alarms.story(days=3, per_day=700, incidents=2, seed=1, kinds=kinds, past_days=4)

    found = alarms.play(told, tmp_path, days=3, step_minutes=20)

    for trouble in told.troubles:
        assert any(alarms.is_about(each, trouble) for each in found), trouble
    besides = [
        each for each in found if not any(alarms.is_about(each, one) for one in told.troubles)
    ]
    assert besides == []
