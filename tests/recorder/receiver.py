"""An HTTP server whose responses a test controls."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What to answer a batch with: status, headers and body; `None` closes the connection.
Answer = tuple[int, dict[str, str], Any] | None


@dataclass
class Receiver:
    """Takes batches; `answer` is asked for each, and 200 stores it."""

    port: int = 0
    answer: Callable[[list[dict[str, Any]]], Answer] = lambda _: (200, {}, {})
    stored: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    calls: int = 0
    tokens: set[str] = field(default_factory=set)
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, events: list[dict[str, Any]], token: str) -> Answer:
        with self.guard:
            self.calls += 1
            self.tokens.add(token)
            answer = self.answer(events)
            if answer and answer[0] == 200:
                for event in events:
                    if event["id"] not in self.stored:
                        self.order.append(event["id"])
                    self.stored[event["id"]] += 1
            return answer


def refusal(index: int) -> Answer:
    """Return the answer that names an event of a batch."""
    errors = [{"loc": ["body", index, "data", "outcome"], "msg": "expected another"}]
    return 422, {}, {"status": 422, "detail": f"events[{index}]: no", "errors": errors}


@contextmanager
def receiving(receiver: Receiver | None = None) -> Iterator[Receiver]:
    """Run a receiver, on the port that it had before if it had one."""
    running = receiver or Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = running.take(json.loads(body), self.headers["Authorization"])
            if answer is None:
                self.close_connection = True
                return
            status, headers, payload = answer
            data = json.dumps(payload).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", running.port), Handler) as server:
        running.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
