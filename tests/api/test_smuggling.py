"""Requests whose length can be read in two ways are refused, and the connection is closed.

A proxy in front could read the other length. What it takes for a body would then be the next
request of somebody else.
"""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.test_bounds import PARSERS, Server, serving
from tests.conftest import sqlite_database

SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + SMUGGLED
BODY = b"x" * 4 + SMUGGLED
FRAMINGS = {
    "length and chunked": (b"Content-Length: 4\r\nTransfer-Encoding: chunked", CHUNKED),
    "chunked and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 44", CHUNKED),
    "two lengths": (b"Content-Length: 4\r\nContent-Length: 38", BODY),
    "two lengths in one": (b"Content-Length: 4, 38", BODY),
    "a length with a sign": (b"Content-Length: +4", BODY),
    "a negative length": (b"Content-Length: -4", BODY),
    "a hexadecimal length": (b"Content-Length: 0x4", BODY),
    "no length at all": (b"Content-Length: ", BODY),
    "a space before the colon": (b"Content-Length : 4", BODY),
    "an unknown coding": (b"Transfer-Encoding: xchunked", CHUNKED),
    "chunked is not last": (b"Transfer-Encoding: chunked, identity", CHUNKED),
    "a coding and a control character": (b"Transfer-Encoding: \x0bchunked", CHUNKED),
    "a chunk with a sign": (b"Transfer-Encoding: chunked", b"+4\r\nxxxx\r\n" + CHUNKED),
    "a chunk without its length": (b"Transfer-Encoding: chunked", b"\r\n" + CHUNKED),
    "a chunk with too large a length": (
        b"Transfer-Encoding: chunked",
        b"1" + b"0" * 16 + b"\r\nxxxx\r\n" + CHUNKED,
    ),
    "a chunk without its end": (b"Transfer-Encoding: chunked", b"4\r\nxxxxyy" + CHUNKED),
}


@pytest.fixture(scope="module", params=PARSERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("smuggling")
    url = sqlite_database(request, directory)
    with serving(directory, url, request.param) as server:
        yield server


def test_a_request_of_two_lengths_is_refused(server: Server) -> None:
    """No second request is answered, and the server hangs up."""
    sent: dict[tuple[bytes, str], socket.socket] = {}
    with contextlib.ExitStack() as opened:
        for path in (b"/api/v1/build", b"/api/v1/stats/overview"):
            for framing, (head, body) in FRAMINGS.items():
                connection = opened.enter_context(server.connect())
                connection.sendall(
                    b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%b\r\n\r\n%b"
                    % (path, head, body)
                )
                sent[path, framing] = connection
        for place, connection in sent.items():
            said = b"".join(iter(lambda c=connection: c.recv(65536), b""))  # type: ignore[misc]
            statuses = [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", said)]
            # With a broken chunk the application may have no response.
            assert len(statuses) == 1 or (not statuses and "chunk " in place[1]), (place, said)
            assert all(400 <= status < 500 for status in statuses), (place, said)
