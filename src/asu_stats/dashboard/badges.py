"""Badges: one figure as a small SVG, for a README or a forum post."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response

from asu_stats import etags, queries
from asu_stats.dashboard.rendering import text_of
from asu_stats.dashboard.view import WINDOW, View
from asu_stats.exceptions import InvalidParameterError
from asu_stats.policies import declare
from asu_stats.reports import builds, decimals, overview

_GREY: Final = "#5f6b69"
_BLUE: Final = "#1b62b5"
_LEVELS: Final = ((95.0, "#1a7037"), (85.0, "#7a6200"), (0.0, "#b3311b"))
_PARAMETERS: Final = (*WINDOW, "version", "profile", "label")
_LABEL_LENGTH: Final = 40
# Widths in an 11 px sans-serif: narrow, wide and other characters.
_NARROW: Final = frozenset("fijlrtI.,:;|!'()[]/- ")
_WIDE: Final = frozenset("mwMW%@")

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Badge:
    """A kind of badge: field of the figures, label and format. `has_levels`: coloured by value."""

    field: str
    label: str
    is_rate: bool = False
    has_levels: bool = False


BADGES: Final[Mapping[str, Badge]] = {
    "requests": Badge("requests", "firmware requests"),
    "builds": Badge("successful_builds", "firmware builds"),
    "success-rate": Badge("success_rate", "build success", is_rate=True, has_levels=True),
    "cache-hit-rate": Badge("cache_hit_rate", "from cache", is_rate=True),
}


def badge_response(
    request: Request, name: str, view_of: Callable[[Request], View], read: Callable[..., Any]
) -> Response:
    """Return a badge; `read` runs a report in a snapshot of the database.

    Raises a 404 for an unknown badge, and `InvalidParameterError`.
    """
    badge = BADGES.get(name)
    if badge is None:
        raise HTTPException(404, f"unknown badge: expected one of {', '.join(BADGES)}")
    queries.read(request.scope["query_string"], _PARAMETERS)
    view = view_of(request)
    label = request.query_params.get("label") or _label(badge, view)
    if len(label) > _LABEL_LENGTH:
        raise InvalidParameterError(
            "label", got=label, expected=f"at most {_LABEL_LENGTH} characters"
        )
    value_text, colour = _shown(badge, read(_figures, view))
    widths = [_width(label), _width(value_text)]
    text = text_of(
        "badge.svg",
        label=label,
        value=value_text,
        colour=colour,
        grey=_GREY,
        widths=widths,
        height=20,
    )
    body = text.encode()
    etag = etags.of_content(body)
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    if etags.matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="image/svg+xml")


def _figures(db: Connection, view: View) -> Figures:
    """Return the figures of all requests, or of one version, one profile, or both."""
    if not view.filters:
        return overview.read(db, view.window)["totals"]
    return builds.of_one(db, view.window, view.filters)._asdict()


def _label(badge: Badge, view: View) -> str:
    names = " ".join(view.filters.values())
    return f"{names} {badge.label}"[-_LABEL_LENGTH:].strip() if names else badge.label


def _shown(badge: Badge, figures: Figures) -> tuple[str, str]:
    value = figures[badge.field]
    if value is None:
        return "no builds" if badge.has_levels else "no requests", _GREY
    if not badge.is_rate:
        return f"{value:,}", _BLUE
    colour = _BLUE
    if badge.has_levels:
        colour = next(colour for minimum, colour in _LEVELS if value >= minimum)
    if value == 100:
        return "100%", colour
    return f"{decimals.shown(value, decimals.sample_of(figures, badge.field))}%", colour


def _width(text: str) -> int:
    pixels = sum(4.2 if c in _NARROW else 9.5 if c in _WIDE else 6.9 for c in text)
    return round(pixels) + 12


def install(
    routes: APIRouter, view_of: Callable[[Request], View], read: Callable[..., Any]
) -> None:
    @routes.get("/badge/{name}.svg", name="badge")
    @declare("read", "read")
    def badge(request: Request) -> Response:
        return badge_response(request, request.path_params["name"], view_of, read)
