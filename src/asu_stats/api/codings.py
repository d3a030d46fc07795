"""Content codings of request bodies (RFC 9110 §8.4.1): decompressed in small steps, with limits.

A few kilobytes can expand to gigabytes, and a zstd frame can demand a window of that size.
Therefore the result is limited, and the window too, as RFC 9659 requires.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from asu_stats.compression import zstd

IDENTITY: Final = "identity"
_STEP: Final = 64 << 10
_SLICE: Final = 16 << 10
_WINDOW_LOG: Final = 23  # 8 MiB
# Maximum number of gzip members or zstd frames in a body. Each costs a decompressor.
_MAX_STREAMS: Final = 1000


class _Stream(Protocol):
    """Decompresses one gzip member or zstd frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """`zlib` with the interface of `zstd`: unused input is kept."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


_STREAMS: Final[dict[str, Callable[[], _Stream]]] = {"gzip": _Gzip}
_ERRORS: tuple[type[Exception], ...] = (zlib.error,)
if zstd is not None:
    _BOUNDS: Final[Mapping[int, int]] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    _STREAMS["zstd"] = lambda: zstd.ZstdDecompressor(options=_BOUNDS)
    _ERRORS = (zlib.error, zstd.ZstdError)


class TooLongError(Exception):
    """The decompressed body exceeds its limit."""


def coding_of(headers: Headers) -> str:
    """Return the content coding of a body. Raises 415 for an unknown one, or several."""
    given = ",".join(headers.getlist("content-encoding")).lower().split(",")
    found = [coding for item in given if (coding := item.strip()) not in {"", IDENTITY}]
    coding = found[0] if found else IDENTITY
    coding = "gzip" if coding == "x-gzip" else coding
    if len(found) > 1 or coding not in {IDENTITY, *_STREAMS}:
        known = ", ".join(_STREAMS)
        raise HTTPException(
            415,
            f"Content-Encoding: expected one of {known} or {IDENTITY}, and not several at once",
            {"Accept-Encoding": f"{known}, {IDENTITY}"},
        )
    return coding


def decode(coding: str, body: bytes, limit: int) -> bytes:
    """Return a body without its coding.

    Raises `TooLongError` for more than `limit` bytes, and `ValueError`, whose text the sender may
    see, for a damaged body. Call it in a thread: a long body takes tens of milliseconds.
    """
    if coding == IDENTITY:
        return body
    make = _STREAMS[coding]
    stream, streams, position, given = make(), 1, 0, b""
    decoded = bytearray()
    while True:
        if not given and stream.needs_input:
            given = body[position : position + _SLICE]
            position += len(given)
        is_last = position == len(body)
        try:
            part = stream.decompress(given, _STEP)
        except _ERRORS as error:
            place = "" if streams == 1 else ", or something follows its end"
            raise ValueError(f"not {coding}{place}: {_reason(error)}") from None
        given = b""
        decoded += part
        if len(decoded) > limit:
            raise TooLongError
        if stream.eof:
            given = stream.unused_data
            if is_last and not given:
                return bytes(decoded)
            if streams == _MAX_STREAMS:
                raise ValueError(f"more than {_MAX_STREAMS} {coding} streams in one body")
            stream, streams = make(), streams + 1
        elif is_last and not part and stream.needs_input:
            raise ValueError(f"the {coding} stream ends too early")


def _reason(error: Exception) -> str:
    """Return the error message of the library, without its prefix."""
    return str(error).rpartition(": ")[2].rstrip(".")
