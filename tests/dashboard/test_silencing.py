"""Silences from the Alerts page: who may, what happens, and what is refused."""

import logging
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asu_stats.api import tokens
from asu_stats.monitor import state
from asu_stats.monitor.state import Silence
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.details.queue_samples import QueueState
from tests.conftest import sqlite_database
from tests.monitor.support import Play
from tests.support import NOW, Stats

OWN = {"origin": "http://testserver"}
HTML = {"accept": "text/html"}
FORM = {"rule": "queue_long", "hours": "4", "comment": "new workers at noon"}


@pytest.fixture(params=["public", "token", "floor"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    options = {"public_floor": 5} if request.param == "floor" else {"read_access": request.param}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        yield stats


def sign_in(stats: Stats, scope: tokens.Scope = "operator", name: str = "jane") -> None:
    stats.client.follow_redirects = False
    end = NOW + timedelta(hours=2)
    token = tokens.create(stats.engine, name, scope, expires_at=end)
    done = stats.client.post("/sign-in", data={"token": token, "next": "/alerts"}, headers=OWN)
    assert (done.status_code, done.headers["location"]) == (303, "/alerts")


def silence(stats: Stats, headers: Mapping[str, str] = OWN, **fields: str) -> Any:
    return stats.client.post("/alerts/silence", data={**FORM, **fields}, headers=headers)


def silences(stats: Stats) -> list[Silence]:
    with read_snapshot(stats.engine) as connection:
        return state.silences(connection)


def page(stats: Stats) -> str:
    """The words of the Alerts page, in one line."""
    answer = stats.client.get("/alerts", headers=HTML)
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def test_an_operator_silences_a_rule_and_ends_that(
    stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sign_in(stats)
    assert "Nothing is silenced" in page(stats)
    done = silence(stats)
    assert (done.status_code, done.headers["location"]) == (303, "/alerts#silences")
    (found,) = silences(stats)
    assert found.until == NOW + timedelta(hours=4)
    assert (found.rule, found.subject, found.created_by) == ("queue_long", (), "jane")
    shown = page(stats)
    assert "queue_long until 2026-09-30 16:00:00 UTC, by jane new workers at noon" in shown
    assert shown.count("silenced until 2026-09-30 16:00") == 1
    line = "alerts: silenced number=1 rule=queue_long until=2026-09-30T16:00:00Z token=jane"
    assert line in caplog.messages
    answer = stats.client.post("/alerts/unsilence", data={"number": "1"}, headers=OWN)
    assert answer.status_code == 303
    assert silences(stats) == []
    assert "Nothing is silenced" in page(stats)
    assert "alerts: silence ended number=1 token=jane" in caplog.messages
    again = stats.client.post("/alerts/unsilence", data={"number": "1"}, headers=OWN)
    assert again.status_code == 303  # another operator was faster


def test_a_silenced_rule_notifies_nobody_until_it_ends(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    sign_in(sqlite_stats)
    silence(sqlite_stats, rule="builds_stalled", hours="1.6")
    play.queue = QueueState(150, 2, play.now.replace(tzinfo=None))
    play.go(90, step=5)
    assert play.state("builds_stalled") == "firing"
    assert play.messages() == []
    assert "silenced, no notification" in page(sqlite_stats)
    play.go(20, step=5)
    assert [kind for kind, _ in play.told()] == ["alert.opened"]
    assert "Nothing is silenced" in page(sqlite_stats)


def test_an_incident_is_silenced_by_what_it_is_about(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    play.builds(300, ago=600)
    play.builds(60, failed=55, version="24.10.2", error_type="image_too_big")
    play.go(20)
    (incident,) = [each for each in play.alerts()["incidents"] if each["subject"]]
    assert (
        "/alerts/silence" not in sqlite_stats.client.get("/alerts").text.split('id="incidents"')[1]
    )
    sign_in(sqlite_stats)
    section = sqlite_stats.client.get("/alerts").text.split('id="incidents"')[1]
    form = re.search(r'<form class="silence".*?</form>', section, re.DOTALL)
    assert form
    fields = dict(re.findall(r'type="hidden" name="(.*?)" value="(.*?)"', form[0]))
    assert fields == incident["subject"]
    silence(sqlite_stats, **{**fields, "rule": ""})
    (found,) = silences(sqlite_stats)
    assert (found.rule, dict(found.subject)) == (None, incident["subject"])


def is_refused(stats: Stats, status: int, words: str, answer: Any = None) -> None:
    answer = answer or silence(stats)
    assert (answer.status_code, silences(stats)) == (status, [])
    assert (
        words in bytes(answer.body if not hasattr(answer, "content") else answer.content).decode()
    )


def test_without_a_session_nothing_changes(site: Stats, caplog: pytest.LogCaptureFixture) -> None:
    is_refused(site, 401, "You are not signed in")
    assert "alerts: silence refused reason=no valid session" in caplog.messages
    token = tokens.create(site.engine, "jane", "operator")
    bearer = {**OWN, "authorization": f"Bearer {token}"}
    is_refused(site, 401, "You are not signed in", silence(site, bearer))
    cookie = {**OWN, "cookie": "asu_stats_session=amFuZQ==.1790000000.00"}
    is_refused(site, 401, "You are not signed in", silence(site, cookie))


def test_a_read_token_may_not_silence(site: Stats, caplog: pytest.LogCaptureFixture) -> None:
    sign_in(site, "read")
    is_refused(site, 403, "Your token lacks the scope operator")
    assert "alerts: silence refused reason=scope token=jane" in caplog.messages
    assert "sign in with a token of the scope operator" in page(site)
    assert 'action="/alerts/silence"' not in site.client.get("/alerts", headers=HTML).text


def test_an_ingest_token_does_not_sign_in(sqlite_stats: Stats) -> None:
    token = tokens.create(sqlite_stats.engine, "sender", "ingest")
    assert (
        sqlite_stats.client.post("/sign-in", data={"token": token}, headers=OWN).status_code == 401
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://testserver:81"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_website_changes_nothing(
    sqlite_stats: Stats, headers: dict[str, str]
) -> None:
    sign_in(sqlite_stats)
    words = "The form was not sent from this page"
    is_refused(sqlite_stats, 400, words, silence(sqlite_stats, headers))
    silence(sqlite_stats)
    ended = sqlite_stats.client.post("/alerts/unsilence", data={"number": "1"}, headers=headers)
    assert ended.status_code == 400
    assert len(silences(sqlite_stats)) == 1


def test_an_expired_token_may_no_longer(site: Stats) -> None:
    sign_in(site)
    site.now = NOW + timedelta(hours=2)
    is_refused(site, 401, "your token was revoked or has expired")


def test_a_revoked_token_may_no_longer_at_once(site: Stats) -> None:
    sign_in(site)
    assert "End silence" not in page(site)
    tokens.revoke(site.engine, "jane")
    is_refused(site, 401, "your token was revoked or has expired")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rule": "nothing"}, "There is no such rule"),
        ({"rule": ""}, "A silence needs a rule or a subject"),
        ({"hours": "0"}, "hours: expected a number up to 8760"),
        ({"hours": "8761"}, "hours: expected"),
        ({"hours": "nan"}, "hours: expected"),
        ({"hours": ""}, "hours: expected"),
        ({"version": "x" * 256}, "at most 255 characters"),
        ({"comment": "\0"}, "at most 255 characters"),
    ],
)
def test_fields_are_checked(sqlite_stats: Stats, fields: dict[str, Any], words: str) -> None:
    sign_in(sqlite_stats)
    is_refused(sqlite_stats, 422, words, silence(sqlite_stats, **fields))


@pytest.mark.parametrize("number", ["", "0", "-1", "x", "9" * 30, "٣", "9223372036854775808"])
def test_the_number_of_a_silence_is_checked(sqlite_stats: Stats, number: str) -> None:
    sign_in(sqlite_stats)
    answer = sqlite_stats.client.post("/alerts/unsilence", data={"number": number}, headers=OWN)
    assert answer.status_code == 422


def test_other_bodies_are_no_forms(sqlite_stats: Stats) -> None:
    sign_in(sqlite_stats)
    for body in ({"json": FORM}, {"data": {**FORM, "comment": "x" * 9000}}):
        answer = sqlite_stats.client.post("/alerts/silence", headers=OWN, **body)  # type: ignore[arg-type]
        assert answer.status_code == 400
    assert silences(sqlite_stats) == []


def test_names_of_tokens_are_for_readers_with_a_token(sqlite_stats: Stats) -> None:
    sign_in(sqlite_stats)
    silence(sqlite_stats)
    read = tokens.create(sqlite_stats.engine, "reader", "read")
    (shown,) = sqlite_stats.client.get(
        "/api/v1/stats/alerts", headers={"authorization": f"Bearer {read}"}
    ).json()["silences"]
    assert shown["created_by"] == "jane"
    sqlite_stats.client.cookies.clear()
    (shown,) = sqlite_stats.client.get("/api/v1/stats/alerts").json()["silences"]
    assert (shown["created_by"], shown["comment"]) == (None, FORM["comment"])
    assert "jane" not in page(sqlite_stats)
    assert "Sign in with a token of the scope operator" in page(sqlite_stats)


def test_an_operator_token_reads_as_well(site: Stats) -> None:
    token = tokens.create(site.engine, "jane", "operator")
    headers = {"authorization": f"Bearer {token}"}
    assert site.client.get("/api/v1/stats/overview", headers=headers).status_code == 200
    assert site.client.post("/api/v1/stats/events", json=[], headers=headers).status_code == 403


def test_the_last_to_end_comes_first(sqlite_stats: Stats) -> None:
    sign_in(sqlite_stats)
    for hours in ("2", "9", "4"):
        silence(sqlite_stats, hours=hours)
    shown = sqlite_stats.client.get("/api/v1/stats/alerts").json()["silences"]
    assert [row["id"] for row in shown] == [2, 3, 1]
