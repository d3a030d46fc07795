"""A bounded load on a server on loopback: `python -m benchmarks.load`.

Keep-alive connections in one process, each with one request at a time: as fast as answers come,
or at a steady rate. Beside them one connection may post events at a steady rate.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.servers import TOKEN
from benchmarks.timing import percentile


class Connection(asyncio.Protocol):
    """One keep-alive connection: a request, then its answer."""

    def __init__(self) -> None:
        self._buffer = b""
        self._missing = -1
        self._answer: asyncio.Future[int] | None = None
        self._status = 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        """Send a request; the status of its answer comes when its body is there."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Take in a part of an answer."""
        if self._missing < 0:
            self._buffer += data
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._status = int(head[9:12])
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._missing, self._buffer = int(length) - len(rest), b""
        else:
            self._missing -= len(data)
        if self._missing == 0 and self._answer and not self._answer.done():
            self._missing = -1
            self._answer.set_result(self._status)


def _requests(paths: Sequence[str], bodies: Sequence[str]) -> Iterator[bytes]:
    """Return the requests to send, over and over: `POST` if there are bodies."""
    if not bodies:
        made = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths]
    else:
        made = [
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"User-Agent: load\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            for path in paths
            for body in bodies
        ]
    return cycle([request.encode() for request in made])


async def _read(
    port: int, requests: Iterator[bytes], until: float, pause: float, times: list[float]
) -> None:
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    due = time.perf_counter()
    while (started := time.perf_counter()) < until:
        if pause:
            due += pause
            await asyncio.sleep(max(0.0, due - started))
            started = time.perf_counter()
        status = await connection.ask(next(requests))
        if status != 200:
            raise RuntimeError(f"the server answered {status}")
        times.append(time.perf_counter() - started)
    transport.close()


async def _write(port: int, bodies: Iterator[bytes], until: float, pause: float) -> int:
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    due = time.perf_counter()
    done = 0
    for content in bodies:
        due += pause
        if due > until:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        head = (
            f"POST /api/v1/stats/events HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        if await connection.ask(head.encode() + content) != 200:
            raise RuntimeError("ingest refused events")
        done += 1
    transport.close()
    return done


async def _run(options: dict[str, Any]) -> dict[str, Any]:
    times: list[float] = []
    requests = _requests(options["paths"], options.get("send", ()))
    started = time.perf_counter()
    until = started + options["seconds"]
    count = options["connections"]
    pause = count / options["rate"] if options.get("rate") else 0.0
    readers = [_read(options["port"], requests, until, pause, times) for _ in range(count)]
    bodies = Path(options["bodies"]).read_bytes().splitlines() if "bodies" in options else []
    writer = _write(options["port"], iter(bodies), until, options.get("post_every", 0.0))
    posted, _ = await asyncio.gather(writer, asyncio.gather(*readers))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "requests": len(times),
        "per_second": len(times) / (time.perf_counter() - started),
        "p50_ms": 1000 * percentile(times, 50),
        "p99_ms": 1000 * percentile(times, 99),
        "posted": posted,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }


def main() -> None:
    """Wait for a start, make the load, print what came of it; again until the input ends."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print("ready", flush=True)
        while line := sys.stdin.readline():
            print(json.dumps(runner.run(_run(json.loads(line)))), flush=True)
            print("ready", flush=True)


if __name__ == "__main__":
    main()
