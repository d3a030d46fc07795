"""HTTP that can't be parsed gets a problem too, with the common headers (conventions §2)."""

import asyncio
import logging
from typing import Literal

from asu_stats.api import problems
from asu_stats.api.middleware import COMMON_HEADERS

PROTOCOL: type[asyncio.Protocol] | Literal["auto"]

try:
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
except ModuleNotFoundError:  # without httptools uvicorn parses slower, and says less of errors
    PROTOCOL = "auto"
else:

    class _Protocol(HttpToolsProtocol):
        url = b""  # of the request; there is none yet when its first line is bad

        def send_400_response(self, msg: str) -> None:
            path = self.url.partition(b"?")[0].decode("latin-1")
            answer = problems.problem(400, msg, headers={**COMMON_HEADERS, "Connection": "close"})
            answer.headers["Content-Type"] = problems.media_type(path)
            headers = (*self.server_state.default_headers, *answer.raw_headers)
            lines = [STATUS_LINE[400], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
            self.transport.write(b"".join(lines) + bytes(answer.body))
            self.transport.close()

    PROTOCOL = _Protocol


def quieten() -> None:
    """Keep out of the log what strangers could fill it with.

    uvicorn takes a socket that was refused with an answer for a fault of the application.
    """
    words = "ASGI callable returned without completing handshake."
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != words)
