"""Valid requests with random damage: a proper response, and refusals store nothing."""

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from httpx2 import Response

from tests.api import fuzzing
from tests.api.test_ingest import trace
from tests.builds import support as builds
from tests.support import NOW, TOKEN, Stats, build, request

BUILD = "/api/v1/build"
EVENTS = "/api/v1/stats/events"
BODIES_PER_DATABASE = 500

pytestmark = fuzzing.campaign

TOKEN_OF_JSON = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9.]+|true|false|null|[\[\]{},:]')
PILE = "\U0001f4a9".encode()
# Anything may stand where something else stood.
HOSTILE_JSON = (
    *b"null true 0 -1 -0.0 1.5 2.0 1e999 -1e999 1e-999 NaN -Infinity 2147483648 1704067200".split(),
    *b'"" "\\u0000" "\\ud800" "\\udfff\\ud800" "\x00" "\xff" "\xed\xa0\x80" "\\x" "\\u20'.split(),
    *b'[] {} [[]] {"":{}} {"a":1,"a":2} ["luci",1] {"luci":"1"} {"a":"https://x"} } ] , :'.split(),
    *b'"2026-09-30" "0001-01-01T00:00:00+14:00" "9999-12-31T23:59:59-14:00"'.split(),
    *b'"2026-02-30T00:00:00Z" "2026-09-30T12:00:60Z" "2026-09-30T24:00:00Z"'.split(),
    *b'"asu.build.started" "asu.build.finished" "rejected" "timeout" "cache_hit"'.split(),
    *b'"../../etc" "-x" "%s%n{0}" "\\u202e" "a\';DROP" "image/png" "application/json;x"'.split(),
    *(b"9" * 30, b"9" * 5000, b"-" + b"9" * 5000, b"1" * 400 + b".5"),
    *(b'"' + text + b'"' for text in (PILE * 300, b"x" * 300, b"x" * 100_000, b"\\u0000" * 300)),
    *(b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000, b"[" * 99 + b"]" * 99),
)
HOSTILE_TEXT = (
    *b"0 -1 +7 1_000 7.0 1e3 NaN 0001-01-01 9999-12-31 2026-02-29 20260930 2026-W40-3".split(),
    *b"2026-09-30T00:00:00Z hour month csv json HOUR / a/b/c . .. ../.. \\ *".split(),
    *b"% %zz {} [] &&=; -- \xe2\x80\xae".split(),
    *(
        b"",
        b" ",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        PILE * 255,
        b"x" * 256,
        b"\xd9\xa7",
        b"9" * 5000,
    ),
    *(b"' OR 1=1 --", b"<script>alert(1)</script>", b"\r\nX: y", b"\xe2\x80\xae", b"x" * 20_000),
)
HOSTILE_HEADERS = {
    "Content-Type": (
        *("", "text/plain", "application/json;", "application/json; charset=utf-16", "/", "\xff"),
        *("application/json; charset=latin-1", "application/json; charset", "application/xml"),
        *("application/cloudevents+json", "application/cloudevents-batch+json", "APPLICATION/JSON"),
    ),
    "Content-Encoding": ("gzip", "br", "identity", "deflate, gzip", "x"),
    "Content-Length": ("0", "-1", "9" * 30, "x", "1e3", "99999999", "\xb2"),
    "Accept": ("text/csv", "text/csv;q=nan,*/*;q=-1", ",;=,", "x" * 5000, "\xff"),
    "Authorization": ("", "Bearer", "Bearer caf\xe9", "Basic Og==", "Bearer " + "x" * 5000),
    "If-None-Match": ("*", 'W/"', '"' * 999, ",,,", "\xff"),
    "Range": ("bytes=9-", "bytes=5-1", "bytes=", "x", f"bytes=0-{'9' * 5000}"),
    "User-Agent": ("", "auc", "auc (", "auc \xff", "auc" + "x" * 5000),
    "Host": ("", "a b", "\xff"),
    "ce-id": ("1",),
    "X-HTTP-Method-Override": ("DELETE",),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it goes out."""

    method: str
    url: str
    content: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def to(self, stats: Stats) -> Response:
        headers = [(name, value.encode("latin-1")) for name, value in self.headers]
        return stats.client.request(
            self.method,
            self.url,
            content=self.content or None,
            headers=headers,  # type: ignore[arg-type]
        )

    def __str__(self) -> str:
        """Show enough to send it again."""
        line = f"seed {fuzzing.SEED}: {self.method} {self.url[:500]}"
        return f"{line}\n{self.headers}\n{self.content[:2000]!r}"


def post(url: str, body: object) -> Sent:
    headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {TOKEN}"))
    return Sent("POST", url, json.dumps(body).encode(), headers[: 2 if url == EVENTS else 1])


def good_events() -> list[Sent]:
    full: dict[str, Any] = {
        "packages": ["luci", "-ppp"],
        "package_count": 143,
        "has_custom_repos": False,
        "has_defaults": True,
        "rootfs_size_mb": 256,
    }
    rejected = {"outcome": "rejected", "error_message": "Unsupported version: 1", "error_type": "t"}
    phases: dict[str, Any] = {
        "phases": {"init": 1.5, "building_image": 61},
        "duration_seconds": 62.5,
    }
    events = [
        request("h1", **full) | {"subject": "h1", "datacontenttype": "application/json"},
        request("h2", **rejected),
        *build("h1", worker_id="w1", **phases),
        build("h3", "failure", error_message="disk full", version="24.10.2")[1],
    ]
    return [post(EVENTS, body) for body in (*events, events, events[:1])]


def good_builds() -> list[Sent]:
    bodies = (
        builds.body(),
        builds.body(client=None, version_code="r1-abc", rootfs_size_mb=256, filesystem="ext4"),
        builds.body(
            packages=None, packages_versions={"luci": "1", "tmux": "2"}, diff_packages=True
        ),
        builds.body(defaults="echo", repositories=["https://x.example/a"], repository_keys=["k"]),
        builds.body(repositories={"a": "https://x.example/a"}, repositories_mode="append"),
    )
    return [post(BUILD, body) for body in bodies]


class Damage:
    """Ways to spoil a request, by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def body(self, content: bytes) -> bytes:
        """Return JSON that is spoilt in one to three places, of the text or of its bytes."""
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            spoil = self.chance.choice((self._token, self._token, self._token, self._bytes))
            content = spoil(content)
        if self.chance.random() < 0.03:
            content = content.decode("utf-8", "replace").encode(
                self.chance.choice(("utf-16", "utf-32-le", "utf-8-sig", "utf-7"))
            )
        return content

    def _token(self, content: bytes) -> bytes:
        tokens = list(TOKEN_OF_JSON.finditer(content))
        if not tokens:
            return content
        spot, other = self.chance.choice(tokens), self.chance.choice(tokens)
        new = self.chance.choice(
            (
                *(self.chance.choice(HOSTILE_JSON) for _ in range(5)),
                other[0],
                b"",
                spot[0] * 2,
                spot[0] + b"," + spot[0],
            )
        )
        return content[: spot.start()] + new + content[spot.end() :]

    def _bytes(self, content: bytes) -> bytes:
        start = self.chance.randrange(len(content) + 1)
        end = min(len(content), start + self.chance.choice((0, 1, 1, 1, 9, 99)))
        ways: tuple[Callable[[], bytes], ...] = (
            lambda: content[:start],
            lambda: content[start:],
            lambda: content[:start] + content[end:],
            lambda: content[:start] + self.chance.randbytes(end - start) + content[end:],
            lambda: content[:end] + content[start:],
            lambda: content[:start] + content[start:end].swapcase() + content[end:],
        )
        return self.chance.choice(ways)()

    def sent(self, sent: Sent) -> Sent:
        """Return a request with a spoilt body, spoilt headers or both."""
        way = self.chance.random()
        if way < 0.85:
            sent = replace(sent, content=self.body(sent.content))
        if way > 0.8:
            name = self.chance.choice(list(HOSTILE_HEADERS))
            value = self.chance.choice(HOSTILE_HEADERS[name])
            others = tuple(header for header in sent.headers if header[0] != name)
            kept = sent.headers if self.chance.random() < 0.1 else others
            sent = replace(sent, headers=(*kept, (name, value)))
        if way > 0.98:
            sent = replace(sent, content=gzip.compress(sent.content))
        return sent

    def question(self) -> Sent:
        """Return a question with odd parameters, at an odd path now and then."""
        name = self.chance.choice(QUESTIONS)
        path = f"/api/v1/stats/{name}"
        if self.chance.random() < 0.1 or name == "clients/":
            path += self._quoted(self.chance.choice(HOSTILE_TEXT))
        parameters = [
            f"{self.chance.choice(PARAMETERS)}={self._quoted(self._value())}"
            for _ in range(self.chance.choice((0, 1, 1, 1, 2, 3)))
        ]
        sent = Sent("GET", f"{path}?{'&'.join(parameters)}")
        if self.chance.random() < 0.2:
            header = self.chance.choice(
                ("Accept", "If-None-Match", "Authorization", "Range", "Host")
            )
            value = self.chance.choice(HOSTILE_HEADERS[header])
            sent = replace(sent, headers=((header, value),))
        return sent

    def _value(self) -> bytes:
        good = (b"7", b"2026-09-01", b"2026-09-30", b"24.10.2", b"luci", b"day", b"csv")
        value = self.chance.choice(HOSTILE_TEXT if self.chance.random() < 0.7 else good)
        return self._bytes(value) if self.chance.random() < 0.3 else value

    def _quoted(self, value: bytes) -> str:
        return quote(value, safe="/%+;=" if self.chance.random() < 0.2 else "")


QUESTIONS = (
    *("overview", "versions", "targets", "profiles", "clients", "clients/", "clients/luci"),
    *("diff-packages", "errors", "performance", "timeseries", "alerts", "nothing"),
)
PARAMETERS = (
    *("days", "start", "end", "limit", "offset", "format", "interval"),
    *("version", "target", "profile", "client", "%ff%00", "x"),
)


def examples(stats: Stats) -> int:
    """Return how many requests to try: fewer on PostgreSQL, which is emptied in longer time."""
    quick = 700 if stats.engine.dialect.name == "sqlite" else 500
    return fuzzing.examples(quick, times=10)


def problem_of(answer: Response, sent: Sent) -> None:
    """Check that an error is a problem as every client can read it."""
    media = "application/json" if sent.url == BUILD else "application/problem+json"
    assert answer.headers["content-type"] == media, str(sent)
    problem = answer.json()
    assert problem["status"] == answer.status_code, str(sent)
    assert isinstance(problem["status"], int), str(sent)
    for member in ("title", "detail"):
        assert isinstance(problem[member], str), str(sent)
        assert 0 < len(problem[member].encode()) <= 1024, str(sent)


def test_questions(stats: Stats) -> None:
    stats.record(request("h1"), build("h1"), request("h2", NOW, outcome="rejected"))
    damage, seen = Damage(fuzzing.SEED), Counter[int]()
    for _ in range(examples(stats)):
        sent = damage.question()
        answer = sent.to(stats)
        seen[answer.status_code] += 1
        assert answer.status_code in {200, 304, 401, 404, 422}, (answer.status_code, str(sent))
        if answer.status_code >= 400:
            problem_of(answer, sent)
    assert min(seen[200], seen[404], seen[422]) > 0, seen


def test_events(stats: Stats) -> None:
    damage, seen = Damage(fuzzing.SEED), Counter[int]()
    for number in range(examples(stats)):
        if number % BODIES_PER_DATABASE == 0:
            stats.clear()
            good, before = good_events(), trace(stats)
        sent = damage.sent(damage.chance.choice(good))
        answer = sent.to(stats)
        after = trace(stats)
        seen[answer.status_code] += 1
        if answer.status_code == 200:
            accepted = answer.json()["accepted"]
            assert stored(after) - stored(before) == accepted, str(sent)
        else:
            assert answer.status_code in {401, 413, 415, 422}, (answer.status_code, str(sent))
            problem_of(answer, sent)
            assert after == before, str(sent)
        before = after
    assert min(seen[200], seen[401], seen[415], seen[422]) > 0, seen


def stored(rows: dict[str, int]) -> int:
    return rows.get("event_identities", 0)


def test_build_requests(stats: Stats) -> None:
    damage, seen = Damage(fuzzing.SEED), Counter[int]()
    good = good_builds()
    for number in range(examples(stats)):
        if number % BODIES_PER_DATABASE == 0:
            stats.clear()
            before = trace(stats)
        sent = damage.sent(damage.chance.choice(good))
        answer = sent.to(stats)
        after = trace(stats)
        seen[answer.status_code] += 1
        assert answer.status_code in {202, 400, 413, 415, 422, 529}, (answer.status_code, str(sent))
        if answer.status_code != 202:
            problem_of(answer, sent)
        if answer.status_code in {413, 415, 422}:
            assert after == before, str(sent)
        before = after
    assert min(seen[202], seen[400], seen[415], seen[422]) > 0, seen
