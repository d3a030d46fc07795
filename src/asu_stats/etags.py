"""ETags, all of them weak: a response may be compressed afterwards."""

from hashlib import blake2b


def of_content(body: bytes) -> str:
    """Return the ETag of a response that depends on nothing but its content."""
    return f'W/"{blake2b(body, digest_size=8).hexdigest()}"'


def matches(header: str | None, etag: str) -> bool:
    """Return whether `If-None-Match` names an ETag; compared weakly (RFC 9110 §8.8.3.2)."""
    if header is None:
        return False
    given = {item.strip().removeprefix("W/") for item in header.split(",")}
    return "*" in given or etag.removeprefix("W/") in given
