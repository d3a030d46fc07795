"""Texts about alerts and incidents, for mails, chats and the command line.

Names and error texts are untrusted. They become plain text without anything that a chat would turn
into a link or a mention.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from asu_stats.alert_rules import Rule, Watched
from asu_stats.monitor.outbreaks import Subject
from asu_stats.reports import figures
from asu_stats.reports.causes import Cause
from asu_stats.text import clean_name, counted

_MAX_CHARACTERS: Final = 160
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,20}://")
_DIMENSIONS: Final = {"error_type": "error"}


def plain(text: str) -> str:
    """Return untrusted text, safe to show anywhere, at most 160 characters."""
    shown = _SCHEME.sub("", clean_name(text)).replace("@", "(at)")
    shown = "".join(character for character in shown if character.isprintable())
    return shown if len(shown) <= _MAX_CHARACTERS else shown[: _MAX_CHARACTERS - 1] + "…"


def of_subject(subject: Subject) -> str:
    """Return a subject in words: `version 24.10.2, error package_not_found`."""
    return ", ".join(
        f"{_DIMENSIONS.get(dimension, dimension)} {plain(value)}" for dimension, value in subject
    )


def number(value: float | None) -> str:
    """Return a value with at most one decimal."""
    return "–" if value is None else figures.as_text(value, 1).removesuffix(".0")  # noqa: RUF001


_BEFORE: Final = "of the {against} h before"
_VALUES: Final[Mapping[Watched, str]] = {
    "success_rate": "{value}% of {builds} succeeded in {hours} h",
    "success_rate_change": f"{{value}} points from the {{expected}}% {_BEFORE}",
    "failure_rate": "{rate}% of {builds} failed in {hours} h, {expected}% were expected",
    "client_failure_rate": "{value}% of {requests} failed in {hours} h",
    "avg_duration": "{value} s on average over {builds} in {hours} h",
    "avg_duration_change": f"{{value}}% longer than the {{expected}} s {_BEFORE}",
    "cache_hit_rate": "{value}% of {requests} were cache hits in {hours} h",
    "cache_hit_rate_change": f"{{value}} points from the {{expected}}% {_BEFORE}",
    "queue_length": "{builds_are} waiting",
    "stalled_minutes": "no build has finished for {value} min",
}


def of_value(rule: Rule, value: float | None, expected: float | None, sample: int) -> str:
    """Return the value of a rule in words."""
    return _VALUES[rule.watch].format(
        value=number(value),
        expected=number(expected),
        rate=number(None if value is None or expected is None else value + expected),
        builds=counted(sample, "build"),
        requests=counted(sample, "request"),
        builds_are="1 build is" if value == 1 else f"{number(value)} builds are",
        hours=rule.hours,
        against=rule.against,
    )


def plain_all(value: Any) -> Any:
    """Return a JSON value with all its strings made plain."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {name: plain_all(member) for name, member in value.items()}
    return [plain_all(member) for member in value] if isinstance(value, list) else value


def of_cause(cause: Cause | None) -> list[str]:
    """Return lines about the likely cause."""
    if cause is None or not cause["count"]:
        return []
    named: Mapping[str, Any] = cause
    parts = [
        f"{_DIMENSIONS.get(name, name)} {plain(share['name'])} ({number(share['percentage'])}%)"
        for name in ("error_type", "package", "version", "target", "client")
        if (share := named[name])
    ]
    lines = [f"Most common: {', '.join(parts)}"] if parts else []
    for example in cause["examples"]:
        about = [example["version"], example["target"], example["profile"]]
        if example["duration_seconds"] is not None:
            about.append(f"{example['duration_seconds']} s")
        line = f"  {example['request_hash']}: {' '.join(map(plain, about))}"
        if example["message"]:
            line += f": {plain(example['message'])}"
        lines.append(line)
    return lines
