"""Fuzzing with private statistics: forms, cookies, tokens and pages never cause a 5xx."""

import random
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from asu_stats.api import tokens
from asu_stats.dashboard.view import PATHS
from tests.api import fuzzing
from tests.api.test_fuzz import HOSTILE_HEADERS, HOSTILE_TEXT, PARAMETERS, QUESTIONS, Sent
from tests.support import NOW, Stats, build, request

pytestmark = fuzzing.campaign

OWN = "http://testserver"
FORM = "application/x-www-form-urlencoded"
SILENCE = ("rule", "version", "hours", "comment", "number")
SILENCES = ("/alerts/silence", "/alerts/unsilence")
UNTIL = int(NOW.timestamp()) + 1000
MORE = (
    *("filter=x", "q=%00", "sort=-x", "page=2", "page=0", "theme=dark", "label=%ff", "next=//x"),
    *("hours=24", "days=1&days=2", "&" * 100, "=", "%", "version=" + "%F0%9F%92%A9" * 255),
)


@pytest.fixture
def private(database_url: str, tmp_path: Path) -> Iterator[Stats]:
    with Stats.on(database_url, tmp_path / "spool", read_access="token") as stats:
        stats.client.follow_redirects = False
        stats.record(request("h1"), build("h1"), request("h2", NOW, outcome="rejected"))
        yield stats


class Private:
    """Requests to a private server, each odd in some place, by chance."""

    def __init__(self, seed: int, token: str, cookie: str) -> None:
        self.chance = random.Random(seed)
        self.token = token
        self.cookie = cookie

    def some(self, *values: object) -> bytes:
        value = self.chance.choice((*values, *HOSTILE_TEXT))
        return value if isinstance(value, bytes) else str(value).encode()

    def quoted(self, value: bytes) -> str:
        return quote(value, safe=self.chance.choice(("", "/%+;=&")))

    def form(self) -> tuple[bytes, str]:
        names = ("token", "token", "next", "x", "", "%00", *SILENCE)
        count = self.chance.choice((0, 1, 2, 2, 2, 3, 9, 10, 11, 12, 100, 3000))
        values = (*[self.token] * 20, "/versions", "//x", "queue_long", "1", "1")
        fields = [
            f"{self.chance.choice(names)}={self.quoted(self.some(*values))}" for _ in range(count)
        ]
        body = self.chance.choice("&&&&;").join(fields).encode()
        media = (FORM, FORM, FORM, FORM.upper(), f"{FORM}; charset=utf-16", "multipart/form-data")
        if self.chance.random() < 0.1:
            body = self.some(b"\xff" * 100, b"&" * 8000, b"=" * 9000, b"%" * 5000)
        odd = HOSTILE_HEADERS["Content-Type"]
        return body, self.chance.choice((*media, *odd))

    def session(self) -> str:
        name, until, signature = self.cookie.split(".")
        names = [self.some("reader", b"\0", b"a\0b", b"' OR 1=1") for _ in range(2)]
        encoded = self.chance.choice((name, *(urlsafe_b64encode(n).decode() for n in names)))
        ends = (until, UNTIL, f"+{UNTIL}", f" {UNTIL}", f"{UNTIL}_0", "9" * 5000, "-1", "nan", "")
        if self.chance.random() < 0.4:
            return self.cookie
        parts = (encoded, str(self.chance.choice(ends)), self.chance.choice((signature, "", "x")))
        cookie = self.chance.choice((".".join(parts), self.cookie, *parts))
        return self.chance.choice((cookie, cookie, cookie[:-1], f'"{cookie}"', "\\001", "=;,"))

    def path(self) -> str:
        pages = (*PATHS.values(), "/docs", "/sign-in", "/metrics", "/static/x")
        others = (f"/badge/{self.quoted(self.some('requests'))}.svg", "/embed/requests", "//x")
        question = f"/api/v1/stats/{self.chance.choice(QUESTIONS)}"
        path = self.chance.choice((*pages, *others, question, question, "/api/v1/builds-per-day"))
        if self.chance.random() < 0.1:
            path += "/" + self.quoted(self.some())
        parameters = [
            self.chance.choice(
                (f"{self.chance.choice(PARAMETERS)}={self.quoted(self.some(7))}", *MORE)
            )
            for _ in range(self.chance.choice((0, 0, 1, 2)))
        ]
        return f"{path}?{'&'.join(parameters)}"

    def sent(self) -> Sent:
        headers = {}
        if self.chance.random() < 0.7:
            headers["Accept"] = self.chance.choice(("text/html", "*/*", "text/csv", "\xff"))
        if self.chance.random() < 0.6:
            headers["Cookie"] = f"asu_stats_session={self.session()}"
        if self.chance.random() < 0.2:
            bearer = self.some(self.token, b"x\0")
            headers["Authorization"] = f"Bearer {bearer.decode('latin-1')}"
        if self.chance.random() < 0.5:
            origins = (
                OWN,
                OWN,
                "ftp://testserver:80",
                "http://[",
                "http://a:b",
                "null",
                "",
                "\xff",
            )
            headers["Origin"] = self.chance.choice(origins)
        if self.chance.random() < 0.2:
            headers["Host"] = self.chance.choice(("[", "a:b", "]:x", "\xff", "", "x" * 5000, "a@b"))
        if self.chance.random() < 0.2:
            headers["Sec-Fetch-Site"] = self.chance.choice(("same-origin", "none", "x", "\xff"))
        if self.chance.random() < 0.1:
            name = self.chance.choice(("If-None-Match", "Range", "User-Agent"))
            headers[name] = self.chance.choice(HOSTILE_HEADERS[name])
        if self.chance.random() < 0.4:
            body, media = self.form()
            urls = ("/sign-in", "/sign-in", "/sign-in", "/sign-out", "/versions", *SILENCES)
            url = self.chance.choice(urls)
            sent = {**headers, "Content-Type": media}
            return Sent("POST", url, body, tuple(sent.items()))
        method = self.chance.choice(("GET", "GET", "GET", "HEAD", "OPTIONS", "PUT"))
        return Sent(method, self.path(), headers=tuple(headers.items()))


def test_nothing_is_a_server_error(private: Stats) -> None:
    token = tokens.create(private.engine, "reader", "operator")
    signed = private.client.post("/sign-in", data={"token": token}, headers={"origin": OWN})
    cookie = signed.cookies["asu_stats_session"]
    odd, seen = Private(fuzzing.SEED, token, cookie), Counter[int]()
    for _ in range(fuzzing.examples(500, times=5)):
        sent = odd.sent()
        private.client.cookies.clear()
        answer = sent.to(private)
        seen[answer.status_code] += 1
        assert answer.status_code < 500, (answer.status_code, str(sent))
        assert "testserver" not in answer.headers.get("location", ""), str(sent)
    assert min(seen[status] for status in (200, 303, 400, 401, 404, 405, 422)) > 0, seen


@pytest.mark.parametrize("fields", [9, 10, 11, 1000])
def test_a_form_with_many_fields(private: Stats, fields: int) -> None:
    token = tokens.create(private.engine, "reader", "read")
    body = "&".join([f"token={token}", *(f"f{number}=" for number in range(fields - 1))])
    headers = {"Content-Type": FORM, "Origin": OWN}
    answer = private.client.post("/sign-in", content=body, headers=headers)
    assert answer.status_code == (303 if fields <= 10 else 400)


@pytest.mark.parametrize("name", [b"\0", b"reader\0", b"\xed\xa0\x80", b"\xff"])
def test_a_cookie_for_a_name_that_no_token_has(private: Stats, name: bytes) -> None:
    tokens.create(private.engine, "reader", "read")
    cookie = f"{urlsafe_b64encode(name).decode()}.{UNTIL}.{'0' * 64}"
    headers = {"Cookie": f"asu_stats_session={cookie}"}
    assert private.client.get("/api/v1/stats/now", headers=headers).status_code == 401
