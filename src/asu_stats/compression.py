"""Content codings of responses: gzip and zstd, as the client prefers (RFC 9110 §12.5.3)."""

import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

try:
    if sys.version_info >= (3, 14):
        from compression import zstd as zstd
    else:
        from backports import zstd as zstd
except ImportError:  # Python was built without it
    zstd = None  # type: ignore[assignment]

Coding: TypeAlias = Literal["", "gzip", "zstd"]

# Shorter bodies fit into one packet anyway.
SHORTEST: Final = 1_000  # bytes
_GZIP_LEVEL: Final = 5
_ZSTD_LEVEL: Final = 3
# In the order of preference among codings that the client likes equally: zstd takes a third of the
# time of gzip.
CODINGS: Final[tuple[Coding, ...]] = ("gzip",) if zstd is None else ("zstd", "gzip")
# Two repetitions of spaces in a row would take quadratic time on a long header.
_OFFER: Final = re.compile(
    r"(?:^|,)[ \t]*(zstd|gzip|x-gzip|\*)(?:[ \t]*;[ \t]*q=([0-9.]{1,5}))?[ \t]*(?=,|$)"
)


def preferred(accept_encoding: str) -> Coding:
    """Return the coding for an `Accept-Encoding` header: `""` is none. Takes linear time."""
    weights = {
        coding.removeprefix("x-"): _weight(weight)
        for coding, weight in _OFFER.findall(accept_encoding.lower())
    }
    other = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, other))
    return best if weights.get(best, other) > 0 else ""


def _weight(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0


def encode(coding: Coding, body: bytes) -> bytes:
    """Return `body` in a coding."""
    if coding == "zstd":
        return zstd.compress(body, _ZSTD_LEVEL)
    return gzip.compress(body, _GZIP_LEVEL, mtime=0) if coding == "gzip" else body


def encode_parts(coding: Coding, parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a long body in a coding, part by part."""
    if coding == "":
        yield from parts
        return
    if coding == "zstd":
        packer: zstd.ZstdCompressor | zlib._Compress = zstd.ZstdCompressor(level=_ZSTD_LEVEL)
    else:
        packer = zlib.compressobj(_GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)
    for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()
