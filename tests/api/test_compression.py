"""Compressed answers: the same bytes in the end, only where the client accepts that."""

import time

import pytest

from asu_stats import compression
from asu_stats.api import codings
from tests.support import Stats, request

VERSIONS = "/api/v1/stats/versions"
# Header, and how the answer is compressed.
ACCEPTED = [
    ("gzip", "gzip"),
    ("zstd", "zstd"),
    ("gzip, deflate, br, zstd", "zstd"),
    ("gzip;q=1.0, zstd;q=0.5", "gzip"),
    ("X-GZIP", "gzip"),
    ("*", "zstd"),
    ("*, zstd;q=0", "gzip"),
    ("", ""),
    ("identity", ""),
    ("br", ""),
    ("gzip;q=0", ""),
    ("gzip;q=0.0, zstd;q=0, *", ""),
    ("gzip;q=nan", ""),
    ("gzipped, notgzip", ""),
]


@pytest.fixture
def filled(stats: Stats) -> Stats:
    stats.record(*(request(f"h{n}", version=f"24.10.{n}") for n in range(50)))
    return stats


def raw(stats: Stats, path: str, accepted: str) -> tuple[bytes, str]:
    """Return the body as it is sent, and its coding."""
    with stats.client.stream("GET", path, headers={"Accept-Encoding": accepted}) as response:
        assert response.status_code == 200
        assert response.headers["vary"].count("Accept-Encoding") == 1
        body = b"".join(response.iter_raw())
        assert int(response.headers.get("content-length", len(body))) == len(body)
        return body, response.headers.get("content-encoding", "")


def unpacked(body: bytes, coding: str) -> bytes:
    return codings.decode(coding or codings.IDENTITY, body, 1 << 24)


@pytest.mark.parametrize(("accepted", "coding"), ACCEPTED)
def test_an_answer_is_compressed_as_the_client_prefers(
    filled: Stats, accepted: str, coding: str
) -> None:
    plain, _ = raw(filled, VERSIONS, "identity")
    for _ in range(2):  # computed, then remembered
        body, found = raw(filled, VERSIONS, accepted)
        assert found == coding
        assert unpacked(body, found) == plain
        assert not coding or len(body) < len(plain) / 3


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_downloads_old_endpoints_and_pages_are_compressed(filled: Stats, coding: str) -> None:
    old = "/api/v1/builds-per-day"
    for path in (
        f"{VERSIONS}?format=csv",
        "/api/v1/stats/overview?hours=24",
        old,
        "/versions",
        "/static/style.css",
    ):
        plain, _ = raw(filled, path, "identity")
        body, found = raw(filled, path, coding)
        assert found == (coding if len(plain) >= compression.SHORTEST else ""), path
        assert unpacked(body, found) == plain


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_all_other_long_texts_are_compressed(stats: Stats, coding: str) -> None:
    for path in ("/openapi.json", "/api/v1/stats/", "/api/v1/stats/alerts"):
        plain, _ = raw(stats, path, "identity")
        body, found = raw(stats, path, coding)
        assert (found, unpacked(body, found)) == (coding, plain), path
        assert len(body) < len(plain) / 4, path
    body, found = raw(stats, "/metrics", coding)
    assert found == coding
    assert unpacked(body, found).startswith(b"# ")
    head = stats.client.head("/openapi.json", headers={"Accept-Encoding": coding})
    assert (head.headers["content-encoding"], head.content) == (coding, b"")


def test_clients_of_the_build_service_get_plain_responses(stats: Stats) -> None:
    response = stats.client.get("/api/v1/latest", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers


def test_a_long_download_is_compressed_while_it_is_sent(stats: Stats) -> None:
    names = range(3_000)  # more rows than are written at a time
    stats.record(*(request(f"h{n}", profile=f"profile {n}") for n in names))
    path = "/api/v1/stats/profiles?format=csv"
    plain, _ = raw(stats, path, "identity")
    assert plain.count(b"\n") == len(names) + 1
    for coding in ("gzip", "zstd"):
        body, found = raw(stats, path, coding)
        assert found == coding
        assert unpacked(body, found) == plain
        assert len(body) < len(plain) / 3


def test_a_short_answer_is_not_compressed(stats: Stats) -> None:
    assert raw(stats, "/api/v1/stats/annotations", "gzip")[1] == ""


def test_an_unchanged_answer_has_no_body_in_any_coding(filled: Stats) -> None:
    tag = filled.client.get(VERSIONS, headers={"Accept-Encoding": "gzip"}).headers["etag"]
    for accepted in ("gzip", "zstd", "identity"):
        headers = {"Accept-Encoding": accepted, "If-None-Match": tag}
        again = filled.client.get(VERSIONS, headers=headers)
        assert (again.status_code, again.content) == (304, b"")


def test_a_long_header_takes_linear_time() -> None:
    def seconds(header: str) -> float:
        started = time.process_time()
        compression.preferred(header)
        return time.process_time() - started

    parts = ("gzip;q=1,", "gzip;", "gzip ; q= ", ",", " ", "\t", ";", "*;q=0.00000", "q=1")
    for start in ("", ",", "gzip", "gzip;", "gzip;q=1", "gzip ;"):
        for part in parts:
            for end in ("", "x"):
                shorter, longer = (
                    min(seconds(f"{start}{part * n}{end}") for _ in range(3))
                    for n in (1_000, 8_000)
                )
                assert longer < 40 * max(shorter, 0.001), (start, part, end)
