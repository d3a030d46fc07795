"""The build API over HTTP, as LuCI, owut, auc and the firmware selector use it."""

import re
from pathlib import Path
from typing import Annotated, Final, Self

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from asu_stats import bodies
from asu_stats.builds import build_responses, openapi
from asu_stats.builds.build_responses import BuildResponse
from asu_stats.builds.service import BuildService
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.policies import declare

MAX_BODY_BYTES: Final = 1 << 20
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_UserAgent = Annotated[str | None, Header(include_in_schema=False)]
_JSON: Final = re.compile(r"application/([a-z0-9.+-]+\+)?json", re.IGNORECASE)


def router(service: BuildService) -> APIRouter:
    """Return the routes of the build API and of the images, without a prefix."""
    routes = APIRouter(tags=["builds"])

    @routes.post(
        "/api/v1/build",
        summary="Request an image",
        responses=openapi.POST_RESPONSES,
        openapi_extra={"requestBody": openapi.request_body(service.settings)},
    )
    @declare("build", "none")
    async def request_build(request: Request, user_agent: _UserAgent = None) -> Response:
        """Build an image, unless it exists or is being built already.

        Poll `GET /api/v1/build/{request_hash}` until the response is 200 or an error.
        """
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # the client has disconnected
        if isinstance(body, BuildResponse):
            return _response(body)
        return await run_in_threadpool(_request, service, body, user_agent)

    @declare("build", "none", "/api/v1/build/")
    def build_status(request: Request) -> Response:
        """Return the state of a build; the headers contain it too, for `HEAD`."""
        request_hash: str = request.path_params["request_hash"]
        if not _HASH.fullmatch(request_hash):
            return _response(build_responses.unknown_hash())
        try:
            return _response(service.look_up(request_hash))
        except StoreUnavailableError as error:
            return _response(build_responses.unavailable(error))

    @declare("build", "none", "/store/")
    def image(request: Request) -> Response:
        """Return a built image. Its path is `bin_dir` of the response 200, and the name."""
        file = service.images.find(request.path_params["path"])
        found = file and _Image.of(file)
        return found or _response(build_responses.problem(404, "Not Found", "no such image"))

    # Paths are read from the request: path arguments would add a 422 to the OpenAPI document.
    for url, endpoint, summary, parameters, responses in (
        (
            "/api/v1/build/{request_hash}",
            build_status,
            "State of a build",
            openapi.STATUS_PARAMETERS,
            openapi.GET_RESPONSES,
        ),
        (
            "/store/{path:path}",
            image,
            "Get an image",
            openapi.IMAGE_PARAMETERS,
            openapi.IMAGE_RESPONSES,
        ),
    ):
        routes.get(
            url,
            summary=summary,
            responses=responses,
            response_class=Response,
            openapi_extra={"parameters": parameters},
        )(endpoint)
        routes.head(url, include_in_schema=False)(endpoint)
    return routes


class _Image(FileResponse):
    """A file response whose `Range` errors are JSON, like all errors."""

    @classmethod
    def of(cls, file: Path) -> Self | None:
        """Return the response with `file`, `None` if the file no longer exists."""
        try:
            known = file.stat()
        except FileNotFoundError:
            return None
        return cls(
            file,
            media_type="application/octet-stream",
            filename=file.name,
            headers={"X-Content-Type-Options": "nosniff"},
            stat_result=known,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def send_or_refuse(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = True
                problem = build_responses.invalid_range(
                    message["status"], Headers(raw=message["headers"])
                )
                await _response(problem)(scope, receive, send)
            elif not refused:
                await send(message)

        await super().__call__(scope, receive, send_or_refuse)


def _request(service: BuildService, body: bytes, user_agent: str | None) -> Response:
    try:
        return _response(service.request(body, user_agent=user_agent))
    except StoreUnavailableError as error:
        return _response(build_responses.unavailable(error))


def _response(content: BuildResponse) -> Response:
    return JSONResponse(content.body, content.status, headers=dict(content.headers))


async def _body(request: Request) -> bytes | BuildResponse:
    """Return the body, or an error response if it is not plain JSON or too large."""
    media = request.headers.get("content-type", "").partition(";")[0].strip()
    if not _JSON.fullmatch(media):
        return build_responses.unsupported("expected a body with content type application/json")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        return build_responses.unsupported("expected a body without Content-Encoding")
    body = await bodies.read(request, MAX_BODY_BYTES)
    return build_responses.too_large(MAX_BODY_BYTES) if body is None else body
