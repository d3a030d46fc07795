"""Formats of event bodies: binary mode, NDJSON, compression; and refused ones."""

import gzip
import itertools
import json
import random
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from asu_stats.api import codings, event_bodies
from asu_stats.exceptions import InvalidEventError
from tests import histories
from tests.conftest import sqlite_database
from tests.support import TOKEN, CloudEvent, Stats, build, request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

URL = "/api/v1/stats/events"
LIMIT = 8 << 20
BATCH = "application/cloudevents-batch+json"
NDJSON = "application/x-ndjson"
WINDOW = zstd.CompressionParameter.window_log


@pytest.fixture(scope="module")
def stats(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    """One service for all tests of this page; the database makes no difference to a body."""
    directory = tmp_path_factory.mktemp("bodies")
    with Stats.on(sqlite_database(request, directory), directory / "spool") as stats:
        yield stats


@pytest.fixture(autouse=True)
def nothing(stats: Stats) -> None:
    stats.clear()


def send(stats: Stats, body: bytes, media: str | None, **headers: str | bytes) -> Response:
    given: list[tuple[str, str | bytes]] = [("Authorization", f"Bearer {TOKEN}")]
    if media is not None:
        given.append(("Content-Type", media))
    given += [(name.replace("_", "-"), value) for name, value in headers.items()]
    raw = [(n.encode(), v if isinstance(v, bytes) else v.encode()) for n, v in given]
    return stats.client.post(URL, content=body, headers=raw)


def said(answer: Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    detail: str = answer.json()["detail"]
    return detail


def accepted(answer: Response) -> tuple[int, int]:
    assert answer.status_code == 200, answer.text
    return answer.json()["accepted"], answer.json()["duplicates"]


def requests_of(stats: Stats) -> int:
    found: int = stats.get("overview")["totals"]["requests"]
    return found


def binary(event: CloudEvent) -> tuple[bytes, dict[str, str | bytes]]:
    """Return body and headers of an event as an SDK sends it."""
    headers: dict[str, str | bytes] = {
        f"ce-{name}": value for name, value in event.items() if name != "data"
    }
    return json.dumps(event["data"]).encode(), headers


# Binary mode -------------------------------------------------------------------------------------


def test_an_event_in_binary_mode_is_the_one_in_structured_mode(stats: Stats) -> None:
    event = request("h1") | {"subject": "h1", "dataschema": "urn:x", "traceparent": "00-1-1-01"}
    body, headers = binary(event)
    assert accepted(send(stats, body, "application/json", **headers)) == (1, 0)
    assert accepted(send(stats, body, "application/json; charset=UTF-8", **headers)) == (0, 1)
    assert stats.record(event) == {"accepted": 0, "duplicates": 1}
    assert requests_of(stats) == 1


@pytest.mark.parametrize(
    ("sent", "decoded"),
    [
        ("a%20b%C3%A9", "a bé"),
        ("a bé", "a bé"),
        ('"a b\\"c\\\\d"', 'a b"c\\d'),
        ('"a%20b"', "a b"),
        ("%25%32%35", "%25"),
        ("  x\t", "x"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ('"', '"'),
    ],
)
def test_attributes_in_headers_are_decoded(stats: Stats, sent: str, decoded: str) -> None:
    event = request("h1")
    body, headers = binary(event | {"id": sent})
    assert accepted(send(stats, body, "application/json", **headers)) == (1, 0)
    assert stats.record(event | {"id": decoded}) == {"accepted": 0, "duplicates": 1}


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"ce-id": "%zz"}, "ce-id", "two hexadecimal digits"),
        ({"ce-id": "100%"}, "ce-id", "two hexadecimal digits"),
        ({"ce-id": "%C0%A0"}, "ce-id", "UTF-8"),
        ({"ce-id": "%ED%A0%80"}, "ce-id", "UTF-8"),
        ({"ce-id": "a%00b"}, "ce-id", "NUL"),
        ({"ce-id": ""}, "ce-id", "a non-empty string"),
        ({"ce-id": "x" * 257}, "ce-id", "longer than 256"),
        ({"ce-id": None}, "ce-id", "is missing"),
        ({"ce-specversion": None}, "ce-specversion", "is missing"),
        ({"ce-specversion": "0.3"}, "ce-specversion", '"1.0"'),
        ({"ce-specversion": "2.0"}, "ce-specversion", '"1.0"'),
        ({"ce-type": "other"}, "ce-type", "asu.request.received"),
        ({"ce-time": None}, "ce-time", "is missing"),
        ({"ce-time": "yesterday"}, "ce-time", "RFC 3339"),
        ({"ce-source": "no%20uri"}, "ce-source", "absolute URI"),
        ({"ce-data": '{"request_hash": "other"}', "body": b""}, "data", "is missing"),
        ({"body": b"{"}, "data", "not JSON"),
        ({"body": b"[]"}, "data", "an object"),
        ({"body": b"  "}, "data", "is missing"),
        ({"body": b"{}"}, "data.request_hash", "is missing"),
    ],
)
def test_an_attribute_that_is_wrong_is_named(
    stats: Stats, changes: dict[str, Any], place: str, words: str
) -> None:
    body, headers = binary(request("h1"))
    given = {**headers, **changes}
    body = given.pop("body", body)
    answer = send(
        stats, body, "application/json", **{n: v for n, v in given.items() if v is not None}
    )
    assert words in said(answer, 422)
    part = "header" if place.startswith("ce-") else "body"
    assert answer.json()["errors"][0]["loc"] == [part, place]
    assert requests_of(stats) == 0


def test_bytes_that_are_no_utf8_are_refused() -> None:
    """Below the client of tests, which decodes headers on its way."""
    for value in (b"caf\xe9", b"caf\xe9%20", b'"\xff"'):
        with pytest.raises(InvalidEventError, match="ce-id: expected percent-encoded UTF-8"):
            event_bodies.batch_of("binary", Headers(raw=[(b"ce-id", value)]), b"{}")


def test_an_attribute_is_there_once(stats: Stats) -> None:
    body, headers = binary(request("h1"))
    twice = send(stats, body, "application/json", **headers, **{"CE-ID": "other"})
    assert said(twice, 422) == "event.ce-id: is there twice"


def test_structured_mode_may_repeat_attributes_in_headers(stats: Stats) -> None:
    event = request("h1")
    _, headers = binary(event | {"id": "other"})
    body = json.dumps(event).encode()
    assert accepted(send(stats, body, "application/cloudevents+json", **headers)) == (1, 0)
    batch = json.dumps([event]).encode()
    assert accepted(send(stats, batch, BATCH, **headers)) == (0, 1)
    # A header that no binary mode is without says nothing of the mode.
    assert accepted(send(stats, batch, "application/json", **{"ce-traceparent": "00"})) == (0, 1)


@pytest.mark.parametrize("media", ["text/plain", "application/octet-stream", NDJSON, "text/json"])
def test_data_in_binary_mode_is_json(stats: Stats, media: str) -> None:
    body, headers = binary(request("h1"))
    assert "application/json" in said(send(stats, body, media, **headers), 415)


@pytest.mark.parametrize("media", [None, "", " ; charset=utf-8"])
def test_a_missing_content_type_is_named(stats: Stats, media: str | None) -> None:
    body, headers = binary(request("h1"))
    for more in ({}, headers):
        answer = send(stats, body, media, **more)
        assert said(answer, 415).startswith("Content-Type is missing: expected application/cloud")
        assert "application/cloudevents+json" in answer.headers["accept"]


# NDJSON ------------------------------------------------------------------------------------------


def lines(*events: object, end: str = "\n") -> bytes:
    return "".join(json.dumps(event) + end for event in events).encode()


@pytest.mark.parametrize("media", [NDJSON, "application/ndjson", f"{NDJSON}; charset=utf-8"])
def test_a_line_per_event(stats: Stats, media: str) -> None:
    events = [request("h1"), *build("h1"), request("h2", client="a\u2028b")]
    assert accepted(send(stats, lines(*events), media)) == (4, 0)
    odd = b"\xef\xbb\xbf" + lines(*events, end="\r\n\r\n \n").rstrip()
    assert accepted(send(stats, odd, media)) == (0, 4)
    unescaped = json.dumps(events[3], ensure_ascii=False).encode()
    assert accepted(send(stats, unescaped, media)) == (0, 1)
    assert accepted(send(stats, b"", media)) == (0, 0)


def test_lines_that_are_refused_are_named(stats: Stats) -> None:
    good = json.dumps(request("h1")).encode()
    bad = json.dumps(request("h2", outcome="lost")).encode()
    answer = send(stats, b"\n".join([good, b"", bad, good, b"[]", b"7"]), NDJSON)
    assert said(answer, 422).startswith("line 3: event.data.outcome: expected one of queued")
    assert said(answer, 422).endswith("(and 2 more)")
    found = [(error["line"], error["loc"]) for error in answer.json()["errors"]]
    assert found == [(3, ["body", 1, "data.outcome"]), (5, ["body", 3]), (6, ["body", 4])]
    broken = send(stats, good + b"\n\n{\n", NDJSON)
    assert said(broken, 422).startswith("line 3: event: not JSON")
    assert requests_of(stats) == 0


def test_all_that_is_wrong_in_a_batch_is_named_up_to_a_limit(stats: Stats) -> None:
    bad = [request("h", outcome="lost") for _ in range(150)]
    for body, media in ((json.dumps(bad).encode(), BATCH), (lines(*bad), NDJSON)):
        answer = send(stats, body, media)
        assert said(answer, 422).endswith("(and 99 more)")
        places = [error["loc"][1] for error in answer.json()["errors"]]
        assert places == list(range(100))


@pytest.mark.parametrize(
    ("body", "kind", "other"), [(b"[]", "", "an array has"), (b"{}", "-batch", "an object has")]
)
def test_the_other_number_of_events_is_explained(
    sqlite_stats: Stats, body: bytes, kind: str, other: str
) -> None:
    sent = send(sqlite_stats, body, f"application/cloudevents{kind}+json")
    words = f"{other} the type application/cloudevents{'' if kind else '-batch'}+json"
    assert words in said(sent, 422)


def test_too_many_lines(stats: Stats) -> None:
    event = lines(request("h"))
    assert accepted(send(stats, event * 10_000, NDJSON)) == (1, 9_999)
    assert (
        said(send(stats, event * 10_001, NDJSON), 413) == "expected at most 10,000 events in a call"
    )
    assert accepted(send(stats, b"\n" * LIMIT, NDJSON)) == (0, 0)


# Compressed bodies -------------------------------------------------------------------------------


def zstandard(data: bytes, **options: int) -> bytes:
    known: dict[int, int] = {zstd.CompressionParameter[name]: n for name, n in options.items()}
    return zstd.compress(data, options=known or None)


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard}
EVENT = json.dumps([request("h1")]).encode()


@pytest.mark.parametrize(
    "coding", ["gzip", "zstd", "x-gzip", " GZIP ", "identity, gzip", "identity"]
)
def test_a_compressed_body_is_the_body(stats: Stats, coding: str) -> None:
    name = next((known for known in PACK if known in coding.lower()), None)
    body = PACK[name](EVENT) if name else EVENT
    assert accepted(send(stats, body, BATCH, content_encoding=coding)) == (1, 0)
    single, headers = binary(request("h2"))
    packed = PACK[name](single) if name else single
    answer = send(stats, packed, "application/json", content_encoding=coding, **headers)
    assert accepted(answer) == (1, 0)


@pytest.mark.parametrize(
    "coding", ["br", "deflate", "compress", "gzip, gzip", "gzip,zstd", "*", "x"]
)
def test_other_codings_and_several_are_refused(stats: Stats, coding: str) -> None:
    answer = send(stats, EVENT, BATCH, content_encoding=coding)
    assert said(answer, 415).startswith("Content-Encoding: expected one of gzip, zstd or identity")
    assert answer.headers["accept-encoding"] == "gzip, zstd, identity"
    twice = send(stats, EVENT, BATCH, content_encoding="gzip", **{"Content-encoding": "gzip"})
    assert twice.status_code == 415


@pytest.mark.parametrize("coding", PACK)
def test_several_streams_are_one_body(stats: Stats, coding: str) -> None:
    pack = PACK[coding]
    halves = pack(EVENT[:40]) + pack(b"") + pack(EVENT[40:])
    assert accepted(send(stats, halves, BATCH, content_encoding=coding)) == (1, 0)
    assert codings.decode(coding, pack(b"") * 1_000, LIMIT) == b""
    many = send(stats, pack(b"") * 1_001, BATCH, content_encoding=coding)
    assert "more than 1000" in said(many, 422)


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda body: body[:0], "ends too early"),
        (lambda body: body[:-1], "ends too early"),
        (lambda body: body[:12], "ends too early"),
        (lambda body: body + b"garbage", "something follows its end"),
        (lambda body: body + b"\0" * 9, "something follows its end"),
        (lambda body: body[:0] + EVENT, "not "),
        (lambda body: body[:20] + bytes([body[20] ^ 255]) + body[21:], ""),
    ],
    ids=["empty", "cut", "beginning", "garbage", "padding", "plain", "flipped"],
)
def test_a_broken_stream_is_refused(
    stats: Stats, coding: str, damage: Callable[[bytes], bytes], words: str
) -> None:
    # With a checksum, as `zstd` on a command line writes it; gzip always has one.
    checked = zstandard(EVENT, checksum_flag=1) if coding == "zstd" else gzip.compress(EVENT)
    answer = send(stats, damage(checked), BATCH, content_encoding=coding)
    assert words in said(answer, 422)
    assert requests_of(stats) == 0


@pytest.mark.parametrize("coding", PACK)
def test_a_bomb_is_refused_before_it_has_grown(stats: Stats, coding: str) -> None:
    pack = PACK[coding]
    assert len(codings.decode(coding, pack(b" " * LIMIT), LIMIT)) == LIMIT
    bomb = pack(b" " * (LIMIT + 1))
    answer = send(stats, bomb, BATCH, content_encoding=coding)
    assert said(answer, 413) == f"the body is longer than {LIMIT} bytes once it is decompressed"
    # Of a thousand times as much, no more than the limit is ever made.
    part = pack(b" " * (1 << 20))
    with pytest.raises(codings.TooLongError):
        codings.decode(coding, part * 900, LIMIT)


def test_a_large_window_is_refused() -> None:
    """A frame of a few bytes may ask for gigabytes of memory (RFC 9659)."""
    data = random.Random(1).randbytes(4096)  # of no known length: the frame names a window

    def frame(window_log: int) -> bytes:
        packer = zstd.ZstdCompressor(options={WINDOW: window_log})
        return packer.compress(data) + packer.flush()

    assert codings.decode("zstd", frame(23), LIMIT) == data
    for window_log in (24, 27, 31):
        with pytest.raises(ValueError, match="not zstd"):
            codings.decode("zstd", frame(window_log), LIMIT)


def test_a_dictionary_is_refused() -> None:
    raw = zstd.ZstdDict(EVENT * 3, is_raw=True)
    trained = zstd.compress(EVENT, zstd_dict=raw)
    with pytest.raises(ValueError, match="zstd"):
        codings.decode("zstd", trained, LIMIT)


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=3))
@example(data=b"", cuts=[])
@histories.examples(60)
def test_what_was_packed_comes_out_again(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    for coding, pack in PACK.items():
        whole = b"".join(pack(part) for part in parts)
        assert codings.decode(coding, whole, 300) == b"".join(parts)


@given(data=st.binary(max_size=200), coding=st.sampled_from(tuple(PACK)), seed=st.integers(0, 999))
@histories.examples(150)
def test_whatever_is_sent_as_compressed_is_decoded_or_refused(
    data: bytes, coding: str, seed: int
) -> None:
    rng = random.Random(seed)
    for body in (data, bytearray(PACK[coding](data))):
        damaged = bytearray(body)
        for _ in range(rng.randrange(3)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            assert len(codings.decode(coding, bytes(damaged), 1000)) <= 1000
        except (ValueError, codings.TooLongError):
            continue


@given(
    body=st.binary(max_size=60) | st.just(EVENT),
    media=st.sampled_from(("application/json", NDJSON, BATCH, "application/cloudevents+json")),
    coding=st.sampled_from(("identity", "gzip", "zstd")),
    headers=st.dictionaries(
        st.sampled_from(("ce-id", "ce-specversion", "ce-type", "ce-time", "ce-source", "ce-x")),
        st.binary(max_size=12).map(lambda text: text.translate(None, b"\r\n\0")),
        max_size=5,
    ),
)
@histories.examples(150)
def test_whatever_is_sent_gets_a_response(
    stats: Stats, body: bytes, media: str, coding: str, headers: dict[str, str | bytes]
) -> None:
    answer = send(stats, body, media, content_encoding=coding, **headers)
    assert answer.status_code in {200, 413, 415, 422}
    if answer.status_code != 200:
        assert answer.json()["detail"]


def test_zlib_streams_are_no_gzip() -> None:
    for body in (zlib.compress(EVENT), zlib.compress(EVENT)[2:-4]):
        with pytest.raises(ValueError, match="not gzip"):
            codings.decode("gzip", body, LIMIT)
