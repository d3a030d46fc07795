"""Silences of alerts over the API: what happens, who may, and what is refused."""

import json
from datetime import timedelta
from typing import Any

import pytest

from asu_stats.api import tokens
from asu_stats.monitor import state
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.details.queue_samples import QueueState
from tests.monitor.support import Play
from tests.support import NOW, Stats

PATH = "/api/v1/stats/alerts/silences"
WANTED = {"rule": "queue_long", "hours": 4, "comment": "new workers at noon"}


def bearer(stats: Stats, scope: tokens.Scope = "operator") -> dict[str, str]:
    token = tokens.create(stats.engine, f"jane-{scope}", scope, expires_at=NOW + timedelta(hours=2))
    return {"authorization": f"Bearer {token}"}


def create(stats: Stats, headers: dict[str, str], **members: Any) -> Any:
    return stats.client.post(PATH, json={**WANTED, **members}, headers=headers)


def stored(stats: Stats) -> int:
    with read_snapshot(stats.engine) as connection:
        return len(state.silences(connection))


def test_a_silence_is_created_listed_and_ended(stats: Stats) -> None:
    headers = bearer(stats)
    assert stats.client.get(PATH, headers=headers).json() == []
    created = create(stats, headers)
    assert created.status_code == 201, created.text
    expected = {
        "id": 1,
        "rule": "queue_long",
        "subject": {},
        "until": "2026-09-30T16:00:00Z",
        "comment": "new workers at noon",
        "created_by": "jane-operator",
    }
    assert created.json() == expected
    subject = {"version": "24.10.2", "client": "luci"}
    longer = create(stats, headers, rule=None, subject=subject, hours=12.5, comment="").json()
    assert longer["subject"] == subject
    assert longer["until"] == "2026-10-01T00:30:00Z"
    listed = stats.client.get(PATH, headers=headers)
    assert listed.headers["cache-control"] == "no-store"
    assert listed.json() == [longer, expected]
    shown = stats.client.get("/api/v1/stats/alerts", headers=headers).json()["silences"]
    assert shown == [longer, expected]
    ended = stats.client.delete(f"{PATH}/{longer['id']}", headers=headers)
    assert (ended.status_code, ended.content) == (204, b"")
    assert stats.client.delete(f"{PATH}/{longer['id']}", headers=headers).status_code == 404
    assert stats.client.get(PATH, headers=headers).json() == [expected]
    stats.now += timedelta(hours=1, minutes=59)
    assert stats.client.get(PATH, headers=headers).json() == [expected]


def test_a_silence_that_ended_by_itself_is_not_listed(stats: Stats) -> None:
    headers = bearer(stats)
    create(stats, headers, hours=0.5)
    stats.now += timedelta(minutes=31)
    assert stats.client.get(PATH, headers=headers).json() == []


def test_a_silenced_rule_notifies_nobody(sqlite_stats: Stats) -> None:
    play = Play(sqlite_stats)
    assert create(sqlite_stats, bearer(sqlite_stats), rule="builds_stalled").status_code == 201
    play.queue = QueueState(150, 2, play.now.replace(tzinfo=None))
    play.go(90, step=5)
    assert play.state("builds_stalled") == "firing"
    assert play.messages() == []


@pytest.mark.parametrize("scope", ["nobody", "read", "ingest"])
def test_other_callers_neither_see_nor_change_silences(stats: Stats, scope: Any) -> None:
    create(stats, bearer(stats))
    headers = {} if scope == "nobody" else bearer(stats, scope)
    expected = 401 if scope == "nobody" else 403
    for response in (
        stats.client.get(PATH, headers=headers),
        create(stats, headers),
        stats.client.delete(f"{PATH}/1", headers=headers),
    ):
        assert response.status_code == expected
        assert "WWW-Authenticate" in response.headers
    assert stored(stats) == 1


def test_a_cookie_is_no_token(sqlite_stats: Stats) -> None:
    """Other websites could send it; a header they cannot set."""
    token = bearer(sqlite_stats)["authorization"].removeprefix("Bearer ")
    form = {"token": token, "next": "/alerts"}
    own = {"origin": "http://testserver"}
    sqlite_stats.client.post("/sign-in", data=form, headers=own)
    assert sqlite_stats.client.cookies
    assert create(sqlite_stats, {}).status_code == 401
    assert stored(sqlite_stats) == 0


def test_an_expired_or_revoked_token_changes_nothing(sqlite_stats: Stats) -> None:
    headers = bearer(sqlite_stats)
    tokens.revoke(sqlite_stats.engine, "jane-operator")
    assert create(sqlite_stats, headers).status_code == 401
    token = tokens.create(sqlite_stats.engine, "b", "operator", expires_at=NOW)
    assert create(sqlite_stats, {"authorization": f"Bearer {token}"}).status_code == 401
    assert stored(sqlite_stats) == 0


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"rule": "nothing"}, "rule"),
        ({"rule": None}, "rule"),
        ({"rule": 3}, "rule"),
        ({"subject": {"rule": "x"}}, "subject"),
        ({"subject": {"version": 3}}, "subject"),
        ({"subject": []}, "subject"),
        ({"rule": None, "subject": {"version": ""}}, "rule"),
        ({"subject": {"version": "x" * 256}}, "version"),
        ({"hours": 0}, "hours"),
        ({"hours": -1}, "hours"),
        ({"hours": 8761}, "hours"),
        ({"hours": 10**400}, "hours"),
        ({"hours": True}, "hours"),
        ({"hours": "4"}, "hours"),
        ({"comment": None}, "comment"),
        ({"comment": "\0"}, "comment"),
        ({"until": "2026-10-01T00:00:00Z"}, "until"),
    ],
)
def test_an_invalid_silence_is_refused_by_field(
    sqlite_stats: Stats, members: dict[str, Any], field: str
) -> None:
    response = create(sqlite_stats, bearer(sqlite_stats), **members)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["loc"] == ["body", field]
    assert response.json()["detail"].startswith(f"{field}: ")
    assert stored(sqlite_stats) == 0


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (json.dumps(WANTED), "text/plain", 415),
        (json.dumps(WANTED), "application/x-www-form-urlencoded", 415),
        ("{", "application/json", 422),
        ("[]", "application/json", 422),
        ('{"hours": NaN, "rule": "queue_long"}', "application/json", 422),
        ('{"rule": "queue_long", "rule": "queue_long"}', "application/json", 422),
        (f'{{"comment": "{"x" * 20_000}"}}', "application/json", 413),
    ],
)
def test_another_body_is_refused(sqlite_stats: Stats, body: str, media: str, status: int) -> None:
    headers = {**bearer(sqlite_stats), "content-type": media}
    response = sqlite_stats.client.post(PATH, content=body, headers=headers)
    assert (response.status_code, stored(sqlite_stats)) == (status, 0)


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 19, "9" * 400, "%C2%B2"])
def test_another_number_is_no_silence(stats: Stats, number: str) -> None:
    assert stats.client.delete(f"{PATH}/{number}", headers=bearer(stats)).status_code == 404
