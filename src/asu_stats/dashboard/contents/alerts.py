"""Alert rules, each with what it watches, why, and how to change it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from asu_stats.dashboard.contents.columns import Content

_WATCHED: Final[Mapping[str, str]] = {
    "success_rate": "the share of finished builds that succeeded",
    "cache_hit_rate": "the share of accepted requests that were cache hits",
    "avg_duration": "the average duration of successful builds",
    "client_failure_rate": "the share of failed or rejected requests of each client",
    "queue_length": "the number of builds that wait",
    "stalled_minutes": "how long builds have waited since one last finished",
    "failure_rate": "how far the failure rate of one version, target, client or error type is "
    "above its past and above the others",
    "success_rate_change": "the change of the success rate",
    "cache_hit_rate_change": "the change of the cache hit rate",
    "avg_duration_change": "the change of the average build duration",
}
_REASONS: Final[Mapping[str, str]] = {
    "success_rate": "Many users do not get their image.",
    "cache_hit_rate": "Workers build images that could have been served at once.",
    "avg_duration": "Users wait too long, and workers serve fewer of them.",
    "client_failure_rate": "A client may send requests that the server cannot build.",
    "queue_length": "Users wait for a worker: add workers, or find what slows them down.",
    "stalled_minutes": "Workers may have stopped: check their processes and the container engine.",
    "failure_rate": "One cause makes builds fail, often a missing package or a failing mirror.",
    "success_rate_change": "Something broke within a day: a release, a mirror, or a worker.",
    "cache_hit_rate_change": "The cache was emptied, or requests for new images came in.",
    "avg_duration_change": "A disk, a mirror or a worker became slower.",
}


def explained(alerts: Mapping[str, Any], now: datetime) -> Content:
    """Return alerts as the pages show them.

    Rules have `what`, `why`, `toml`, the lines that change them, and `silenced_until`. Of silences,
    only those that last are returned.
    """
    silences = [each for each in alerts["silences"] if datetime.fromisoformat(each["until"]) > now]
    until = {
        silence["rule"]: silence["until"]
        for silence in reversed(silences)
        if not silence["subject"]
    }
    rules = [
        {**rule, **_explanation(rule), "silenced_until": until.get(rule["rule"], until.get(None))}
        for rule in alerts["rules"]
    ]
    return {**alerts, "rules": rules, "silences": silences}


def _explanation(rule: Mapping[str, Any]) -> dict[str, str]:
    watch, unit = rule["watch"], rule["unit"]
    side = "above" if rule["above"] is not None else "below"
    limit = f"{rule[side]:g}"
    shown = f"{limit}{'' if unit == '%' else ' '}{unit}"
    held = f" for {rule['for_minutes']:g} minutes" if rule["for_minutes"] else ""
    is_queue = watch in {"queue_length", "stalled_minutes"}
    span = "" if is_queue else f", over {rule['hours']} hours"
    return {
        "what": f"Watches {_WATCHED[watch]}{span}. Fires when it is {side} {shown}{held}.",
        "why": _REASONS[watch],
        "toml": f'[[alerts]]\nname = "{rule["rule"]}"\n{side} = {limit}',
    }
