"""Formats of figures on pages. They are English; a script applies the locale of the reader."""

import json
from datetime import datetime
from typing import Any

from markupsafe import Markup

from asu_stats.reports import decimals, figures
from asu_stats.text import counted

UNKNOWN = "–"  # noqa: RUF001 - an en dash


def number(value: float | None, decimals: int = 0) -> Markup:
    """Return a number as `<data>`, which scripts can update with the same number of decimals."""
    if value is None:
        return Markup('<span class="none" title="unknown">{}</span>').format(UNKNOWN)
    return Markup('<data value="{}">{}</data>').format(
        f"{value:.{decimals}f}", f"{value:,.{decimals}f}"
    )


def rate(value: float | None, sample: int = 0) -> Markup:
    """Return a rate in percent with the decimals that a sample of this size carries."""
    if value is None:
        return number(None)
    return points(value, sample) + Markup("<small>%</small>")


def points(value: float, sample: int) -> Markup:
    """Return a difference with the decimals that the smaller sample carries."""
    text = decimals.shown(value, sample)
    return number(float(text), len(text.partition(".")[2]))


def plain(value: float | None) -> Markup:
    """Return a number with as many decimals as needed, at most two."""
    if value is None:
        return number(None)
    shown = float(figures.as_text(value, 2))
    return number(shown, 0 if shown == int(shown) else len(str(shown).partition(".")[2]))


def duration(exact: float | None) -> Markup:
    """Return seconds as hours, minutes and seconds. Fractions are shown below 10 seconds."""
    if exact is None:
        return number(None)
    if exact < 10 and exact != int(exact):
        return Markup("<span>{} s</span>").format(figures.as_text(exact, 1))
    seconds = int(figures.as_text(exact, 0))
    return Markup('<span title="{} s">{}</span>').format(f"{seconds:,}", duration_text(seconds))


def duration_text(seconds: int) -> str:
    """Return whole seconds as hours, minutes and seconds, or as days."""
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days and not (hours_left or minutes or rest):
        return counted(days, "day")
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(text: str) -> Markup:
    """Return an RFC 3339 time in UTC, to the second. A script adds the local time."""
    shown = datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}">{}</time>').format(text, shown)


def to_json(value: Any) -> str:
    """Return indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def to_attribute(value: Any) -> str:
    """Return JSON for an attribute, which the template escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
