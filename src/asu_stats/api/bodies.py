"""Reading request bodies: bounded, however they are sent."""

from starlette.exceptions import HTTPException
from starlette.requests import Request


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body. Raises 413 when it is longer than `limit` bytes, 415 when compressed."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise HTTPException(415, "a Content-Encoding is not accepted; send the body as it is")
    too_large = HTTPException(413, f"the body is longer than {limit} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limit):
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def media_type(request: Request) -> str:
    """Return the media type of the body, without parameters. Raises 415 for another charset."""
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in {"utf-8", "utf8"}:
            raise HTTPException(415, "the body must be UTF-8")
    return media.strip().lower()
