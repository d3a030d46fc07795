"""Bodies of requests, read no further than they are wanted."""

from starlette.requests import Request


async def read(request: Request, limit: int) -> bytes | None:
    """Return the body as it was sent, `None` if it is longer than `limit` bytes.

    One that announces its length is not read then. Raises `ClientDisconnect`.
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
