"""The sink of a recorder that sends events to another asu-stats server over HTTP.

docs/reference/events.md defines what each status means for a sender. Only the standard library is
used, so other servers need no further packages.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asu_stats.cloudevents import to_cloudevent
from asu_stats.events import Event
from asu_stats.exceptions import (
    InvalidEventError,
    MisconfiguredSenderError,
    StoreRefusedError,
    StoreUnavailableError,
)
from asu_stats.http_client import connection_to, retry_after_seconds, server_of

if TYPE_CHECKING:
    from http.client import HTTPConnection

PATH: Final = "/api/v1/stats/events"
_MEDIA_TYPE: Final = "application/cloudevents-batch+json"
_RESPONSE_BYTES: Final = 64 << 10
_CALL_BYTES: Final = 4 << 20  # half of what a server accepts per call
_LONGEST_RETRY: Final = 3600.0
_MISCONFIGURED: Final = frozenset({401, 403, 404, 405, 415})


@dataclass(frozen=True, slots=True)
class Delivered:
    """Events that the server committed. `duplicates` of them were known; which ones is unknown."""

    new: Sequence[bool]
    duplicates: int = 0


class HttpSink:
    """Sends batches of events to the server at `url` (`http` or `https`, with its path prefix).

    Not thread-safe. The connection stays open between calls. Raises
    `InvalidSettingError` for an unusable URL.
    """

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 10.0) -> None:
        self._origin, prefix = server_of(url, name="url")
        self._timeout_seconds = timeout_seconds
        self._connection: HTTPConnection | None = None
        self._path = prefix + PATH
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": _MEDIA_TYPE,
            "User-Agent": "asu-stats",
        }

    def __call__(self, events: Sequence[Event]) -> Delivered:
        """Send a batch and return once the server has committed it.

        Raises `StoreUnavailableError` if the same events must be sent again later (a
        `MisconfiguredSenderError` if somebody must correct the URL, token or certificate first),
        `InvalidEventError` with the index of an event that the server rejects as invalid, and
        `StoreRefusedError` if the batch is too large.
        """
        body = json.dumps([to_cloudevent(event) for event in events], separators=(",", ":"))
        data = body.encode()
        if len(data) > _CALL_BYTES and len(events) > 1:
            raise StoreRefusedError("the batch is too large")
        status, retry_after, answer = self._post(data)
        if status == 200:
            return Delivered([True] * len(events), _duplicates(answer))
        reason = f"server: {status} {_detail(answer)}"
        if status in {404, 405}:
            reason += f" at {self._path}: expected the URL of a server, with its path prefix"
        if status == 422 and (index := _index(answer)) is not None and index < len(events):
            raise InvalidEventError("", reason, index=index)
        if status == 413 and len(events) > 1:
            raise StoreRefusedError(reason)
        if status in {413, 422} and len(events) == 1:
            raise InvalidEventError("", reason, index=0)
        if status in _MISCONFIGURED:
            raise MisconfiguredSenderError(reason, retry_after_seconds=retry_after)
        raise StoreUnavailableError(reason, retry_after_seconds=retry_after)

    def probe(self) -> None:
        """Send an empty batch. Raises like a call if the server does not accept events."""
        self(())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _post(self, data: bytes) -> tuple[int, float | None, bytes]:
        """Return status, `Retry-After` in seconds and the beginning of the body of a response."""
        from http.client import HTTPException
        from ssl import SSLCertVerificationError

        if self._connection is None:
            self._connection = connection_to(self._origin, timeout_seconds=self._timeout_seconds)
        connection = self._connection
        reused = connection.sock is not None
        try:
            try:
                return self._exchange(connection, data)
            except ConnectionError:
                # The server has closed an idle connection. An event that is sent twice counts once.
                if not reused:
                    raise
                connection.close()
                return self._exchange(connection, data)
        except SSLCertVerificationError as error:
            connection.close()
            raise MisconfiguredSenderError(
                f"server: the certificate is not trusted: {error.verify_message}; the variable "
                "SSL_CERT_FILE names a file of trusted certificates"
            ) from error
        except (OSError, HTTPException) as error:
            connection.close()
            reason = f"server: {error or type(error).__name__}"
            raise StoreUnavailableError(reason) from error

    def _exchange(
        self, connection: "HTTPConnection", data: bytes
    ) -> tuple[int, float | None, bytes]:
        connection.request("POST", self._path, data, self._headers)
        response = connection.getresponse()
        answer = response.read(_RESPONSE_BYTES)
        if not response.isclosed():  # the rest is not worth reading
            connection.close()
        pause = retry_after_seconds(response.headers.get("Retry-After"), _LONGEST_RETRY)
        return response.status, pause, answer


def _problem(answer: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(answer)
        if isinstance(found, dict):
            return found
    return {}


def _duplicates(answer: bytes) -> int:
    found = _problem(answer).get("duplicates")
    return found if type(found) is int else 0


def _detail(answer: bytes) -> str:
    """Return the reason that a response gives."""
    return ascii(str(_problem(answer).get("detail") or "no reason given")[:200])


def _index(answer: bytes) -> int | None:
    """Return the index of the event that was rejected: `loc` is `["body", INDEX, …]`."""
    errors = _problem(answer).get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    loc = first.get("loc") if isinstance(first, dict) else None
    if isinstance(loc, list) and len(loc) > 1 and type(loc[1]) is int and loc[1] >= 0:
        return loc[1]
    return None
