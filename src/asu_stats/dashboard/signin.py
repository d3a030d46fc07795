"""Sign-in with a token of the scope read or operator."""

from collections.abc import Callable
from datetime import timedelta

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response

from asu_stats.dashboard import forms
from asu_stats.dashboard.forms import IsOwnOrigin, redirect
from asu_stats.dashboard.rendering import render
from asu_stats.policies import declare


def router(
    *,
    create_session: Callable[[str], str | None],
    is_own_origin: IsOwnOrigin,
    cookie: str,
    max_age: timedelta,
    is_public: bool,
) -> APIRouter:
    """Return the routes.

    `create_session` returns the cookie for a valid token, else `None`. `is_own_origin` returns
    whether an `Origin` is this server: forms on other websites must not sign anyone in or out.
    `is_public` is whether everybody sees all statistics.
    """
    routes = APIRouter(include_in_schema=False)

    @routes.get("/sign-in")
    @declare("public", "read")
    def form(request: Request) -> Response:
        return _form_page(request, _local_path(request.query_params.get("next", "/")))

    @routes.post("/sign-in")
    @declare("public", "read")
    async def sign_in(request: Request) -> Response:
        fields = await forms.fields_of(request)
        if fields is None or not forms.is_same_origin(request, is_own_origin):
            return _form_page(request, "/", forms.ELSEWHERE, 400)
        target = _local_path(fields.get("next", "/"))
        value = await run_sync(create_session, fields.get("token", "").strip())
        if value is None:
            problem = "Invalid token, or it lacks the scope read or operator."
            return _form_page(request, target, problem, 401)
        response = redirect(request, target)
        response.set_cookie(
            cookie,
            value,
            max_age=int(max_age.total_seconds()),
            path=forms.root(request) or "/",
            secure=_is_secure(request),
            httponly=True,
            samesite="lax",
        )
        return response

    @routes.post("/sign-out")
    @declare("public", "read")
    def sign_out(request: Request) -> Response:
        if not forms.is_same_origin(request, is_own_origin):
            return _form_page(request, "/", forms.ELSEWHERE, 400)
        response = redirect(request, "/" if is_public else "/sign-in")
        path = forms.root(request) or "/"
        response.delete_cookie(cookie, path=path, httponly=True, samesite="lax")
        return response

    def _form_page(request: Request, target: str, problem: str = "", status: int = 200) -> Response:
        values = {"next": target, "failed": problem, "is_public": is_public}
        return render(request, "sign-in.html", values, status=status)

    return routes


def _local_path(target: str) -> str:
    """Return a path of this server to redirect to; `/` for a URL of another server."""
    is_local = target.startswith("/") and target[1:2] not in {"/", "\\"} and target.isprintable()
    return target if is_local else "/"


def _is_secure(request: Request) -> bool:
    """Return whether the browser used TLS, which a proxy may have terminated."""
    return request.scope["scheme"] == "https" or request.headers.get("origin", "").startswith(
        "https:"
    )
