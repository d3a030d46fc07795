"""Records of events in a file: one line each, the CRC-32 of the payload and the payload.

The payload is a CloudEvent in ASCII JSON, so a record never contains a line end, a NUL or the
prefix of records. A reader therefore finds every intact record, whatever surrounds it.
"""

import contextlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from asu_stats.cloudevents import from_cloudevent, to_cloudevent
from asu_stats.events import Event
from asu_stats.exceptions import InvalidEventError
from asu_stats.strict_json import parse_json

_CHUNK: Final = 1 << 16
_BATCH_BYTES: Final = 1 << 23
_MAX_BYTES: Final = 1 << 24  # longer than any record: 2,000 package names in escapes have 6 MiB
_START: Final = re.compile(rb'[0-9a-f]{8} \{"')
_NULS: Final = re.compile(rb"\0{2,}")


def encode(event: Event) -> bytes:
    """Return the record of an event: one line."""
    payload = json.dumps(to_cloudevent(event), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def decode(record: bytes) -> Event:
    """Return the event of a record without its line end. Raises `ValueError` if it is damaged."""
    checksum, _, payload = record.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(payload):
        raise ValueError("wrong checksum")
    try:
        return from_cloudevent(parse_json(payload), now=None, imported=True)
    except InvalidEventError as error:
        raise ValueError(str(error)) from None


@dataclass(slots=True)
class Batch:
    """Part of a file: its events, and per damaged line the bytes that are not a record."""

    events: list[Event] = field(default_factory=list)
    damaged: list[bytes] = field(default_factory=list)
    end: int = 0  # offset of what follows

    def add(self, line: bytes) -> None:
        """Add the records of a line; runs of NUL in it are cut to two."""
        if not line:
            return
        with contextlib.suppress(ValueError):
            self.events.append(decode(line))
            return
        before = len(self.events)
        odd = list(self._sift(line))
        # A single byte beside a record is a damaged line end: nothing is missing.
        if len(self.events) == before or max(map(len, odd)) > 1:
            self.damaged.append(b"".join(odd))

    def _sift(self, line: bytes) -> Iterator[bytes]:
        """Add the intact records of a line and yield the bytes between them."""
        starts = [match.start() for match in _START.finditer(line)]
        yield line[: starts[0]] if starts else line
        for start, stop in pairwise([*starts, len(line)]):
            nul = line.find(b"\0", start, stop)
            end = line.rfind(b"}", start, stop if nul < 0 else nul) + 1
            try:
                self.events.append(decode(line[start:end]))
                yield line[end:stop]
            except ValueError:
                yield line[start:stop]


def read(file: int, offset: int, end: int, most: int) -> Batch | None:
    """Return about `most` records of an open file from `offset` on, `None` at `end`.

    Reads in linear time and holds some MiB in memory at most. NULs at the end of the file are
    reserved space. Raises `OSError`.
    """
    if offset >= end:
        return None
    batch, place = Batch(end=offset), offset
    line: list[bytes] = []  # the beginning of an incomplete line
    length = 0
    while place < end:
        chunk = os.pread(file, min(_CHUNK, end - place), place)
        if not chunk:
            break
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            batch.add(b"".join((*line, _dense(piece))))
            place += len(piece) + 1
            batch.end, line, length = place, [], 0
            if len(batch.events) + len(batch.damaged) >= most or place - offset >= _BATCH_BYTES:
                return batch
        place += len(rest)
        line.append(_dense(rest))
        length += len(line[-1])
        if length > _MAX_BYTES:
            text = b"".join(line)
            *_, cut = (0, *(match.start() for match in _START.finditer(text)))
            rest = text[cut:] if cut and b"\0\0" not in text[cut:] else b""
            batch.add(text[: len(text) - len(rest)])
            batch.end = place - len(rest)
            return batch
    batch.add(b"".join(line).rstrip(b"\0"))
    batch.end = end
    return batch


def _dense(piece: bytes) -> bytes:
    """Return a piece with every run of NUL cut to two."""
    return _NULS.sub(b"\0\0", piece) if b"\0" in piece else piece
