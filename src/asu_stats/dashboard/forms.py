"""Forms of the pages: their fields, where they were sent from, and the redirect after them."""

from collections.abc import Callable
from typing import Final, TypeAlias
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse

from asu_stats import bodies

MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
ELSEWHERE: Final = "The form was not sent from this page. Try again."
_BYTES: Final = 8192
_FIELDS: Final = 10
# Whether an `Origin` is this server.
IsOwnOrigin: TypeAlias = Callable[[Request, str], bool]


async def fields_of(request: Request) -> dict[str, str] | None:
    """Return the fields of a form; `None` if the body is too large or not a form."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        return None
    body = await bodies.read(request, _BYTES)
    if body is None:
        return None
    text = body.decode("utf-8", "replace")
    if text.count("&") >= _FIELDS:
        return None
    fields = parse_qs(text, keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def is_same_origin(request: Request, is_own_origin: IsOwnOrigin) -> bool:
    """Return whether no page of another website sent a form."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = request.headers.get("origin")
    return origin is None or is_own_origin(request, origin)


def redirect(request: Request, target: str) -> RedirectResponse:
    """Return a redirect to a path of this server."""
    response = RedirectResponse(f"{root(request)}{target}", 303)
    response.headers["Cache-Control"] = "no-store"
    return response


def root(request: Request) -> str:
    path: str = request.scope.get("root_path", "")
    return path
