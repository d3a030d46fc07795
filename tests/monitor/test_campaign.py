"""A short campaign: incidents are notified, false_alarms days are not."""

from pathlib import Path

from benchmarks import alarm_histories


def test_quiet_days_are_quiet_and_incidents_are_found(tmp_path: Path) -> None:
    kinds = ("version", "stall")
    events = alarm_histories.normal_history(days=7, per_day=700, seed=1)
    scenario = alarm_histories.scenario_of(events, days=3, incidents=2, seed=1, kinds=kinds)

    found = alarm_histories.play_stored(scenario, tmp_path, days=3, step_minutes=20)

    for fault in scenario.faults:
        about = [each for each in found if alarm_histories.is_about(each, fault)]
        assert any(alarm_histories.names_cause(each, fault) for each in about), fault
    other_messages = [
        each
        for each in found
        if not any(alarm_histories.is_about(each, one) for one in scenario.faults)
    ]
    assert other_messages == []
    assert found == alarm_histories.play(scenario, days=3, step_minutes=20)
