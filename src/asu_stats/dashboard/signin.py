"""Sign-in with a read token, if statistics are not public."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qs

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from asu_stats import bodies
from asu_stats.dashboard.rendering import render
from asu_stats.policies import declare

_FORM_BYTES: Final = 8192
_FORM_FIELDS: Final = 10


def router(
    *,
    create_session: Callable[[str], str | None],
    is_own_origin: Callable[[Request, str], bool],
    cookie: str,
    max_age: timedelta,
) -> APIRouter:
    """Return the routes.

    `create_session` returns the cookie for a valid token, else `None`. `is_own_origin` returns
    whether an `Origin` is this server: forms on other websites must not sign anyone in or out.
    """
    routes = APIRouter(include_in_schema=False)

    @routes.get("/sign-in")
    @declare("public", "read")
    def form(request: Request) -> Response:
        target = _local_path(request.query_params.get("next", "/"))
        return render(request, "sign-in.html", {"next": target, "failed": ""})

    @routes.post("/sign-in")
    @declare("public", "read")
    async def sign_in(request: Request) -> Response:
        fields = await _fields(request)
        if fields is None or not _is_same_origin(request):
            return _form_page(request, "/", "The form was not sent from this page. Try again.", 400)
        target = _local_path(fields.get("next", "/"))
        value = await run_sync(create_session, fields.get("token", "").strip())
        if value is None:
            return _form_page(request, target, "Invalid token, or it lacks the scope read.", 401)
        response = _redirect(request, target)
        response.set_cookie(
            cookie,
            value,
            max_age=int(max_age.total_seconds()),
            path=_root(request) or "/",
            secure=_is_secure(request),
            httponly=True,
            samesite="lax",
        )
        return response

    @routes.post("/sign-out")
    @declare("public", "read")
    def sign_out(request: Request) -> Response:
        if not _is_same_origin(request):
            return _form_page(request, "/", "The form was not sent from this page. Try again.", 400)
        response = _redirect(request, "/sign-in")
        response.delete_cookie(cookie, path=_root(request) or "/", httponly=True, samesite="lax")
        return response

    def _is_same_origin(request: Request) -> bool:
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return False
        origin = request.headers.get("origin")
        return origin is None or is_own_origin(request, origin)

    return routes


def _form_page(request: Request, target: str, error: str, status: int) -> Response:
    return render(request, "sign-in.html", {"next": target, "failed": error}, status=status)


def _local_path(target: str) -> str:
    """Return a path of this server to redirect to; `/` for a URL of another server."""
    is_local = target.startswith("/") and target[1:2] not in {"/", "\\"} and target.isprintable()
    return target if is_local else "/"


def _redirect(request: Request, target: str) -> RedirectResponse:
    response = RedirectResponse(f"{_root(request)}{target}", 303)
    response.headers["Cache-Control"] = "no-store"
    return response


def _root(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root


def _is_secure(request: Request) -> bool:
    """Return whether the browser used TLS, which a proxy may have terminated."""
    return request.scope["scheme"] == "https" or request.headers.get("origin", "").startswith(
        "https:"
    )


async def _fields(request: Request) -> dict[str, str] | None:
    """Return the fields of a form; `None` if the body is too large or not a form."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return None
    body = await bodies.read(request, _FORM_BYTES)
    if body is None:
        return None
    text = body.decode("utf-8", "replace")
    if text.count("&") >= _FORM_FIELDS:
        return None
    fields = parse_qs(text, keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}
