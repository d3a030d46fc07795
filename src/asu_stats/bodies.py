"""Reads request bodies up to a limit."""

from starlette.requests import Request


async def read(request: Request, limit: int) -> bytes | None:
    """Return the raw body, `None` if it is longer than `limit` bytes.

    A body with a longer `Content-Length` is not read. Raises `ClientDisconnect`.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limit):
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
