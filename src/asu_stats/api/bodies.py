"""Reading request bodies with a size limit."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from asu_stats import bodies


async def read_body(request: Request, limit: int) -> bytes:
    """Return the raw body. Raises 413 if it is longer than `limit` bytes."""
    body = await bodies.read(request, limit)
    if body is None:
        raise too_long(limit)
    return body


def too_long(limit: int, when: str = "") -> HTTPException:
    """Return the error 413 for a body of more than `limit` bytes."""
    return HTTPException(413, f"the body is longer than {limit} bytes{when}")


def media_type(headers: Headers) -> str:
    """Return the media type of the body, without parameters. Raises 415 for another charset."""
    media, _, parameters = headers.get("content-type", "").partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in {"utf-8", "utf8"}:
            raise HTTPException(415, "the body must be UTF-8")
    return media.strip().lower()
