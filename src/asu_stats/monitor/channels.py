"""Notification channels: the recipients in the settings."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

from asu_stats.cloudevents import format_time
from asu_stats.events import new_id
from asu_stats.exceptions import InvalidSettingError, reason
from asu_stats.monitor import posting, reporting
from asu_stats.monitor.posting import DeliveryError
from asu_stats.settings import Settings
from asu_stats.times import utc_now
from asu_stats.webhook import Webhook

Send = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Channel:
    """A recipient. `key` identifies it in the database, because an address may hold a password.

    `send` gets the id and the body of a message and raises `DeliveryError`.
    """

    key: str
    name: str
    send: Send


def of_settings(settings: Settings) -> list[Channel]:
    """Return the channels. Raises `InvalidSettingError` for an unusable address."""
    found = [
        Channel(
            _key(f"{hook.url} {hook.secret.get_secret_value()}"),
            f"webhook {number}",
            partial(_post, hook),
        )
        for number, hook in enumerate(settings.webhooks, 1)
    ]
    urls = [url.get_secret_value() for url in settings.notify]
    return [*found, *_apprise(urls)]


def keys(settings: Settings) -> list[str]:
    """Return the keys of the channels, without loading what sends messages."""
    hooks = [f"{hook.url} {hook.secret.get_secret_value()}" for hook in settings.webhooks]
    return [_key(text) for text in (*hooks, *(url.get_secret_value() for url in settings.notify))]


def send_test(channel: Channel, source: str, now: datetime, public_url: str = "") -> str | None:
    """Send a test message. Returns the error, `None` if it was accepted."""
    url = reporting.page_of(public_url)
    words = "This is a test. Alerts of asu-stats arrive here."
    body = {
        "type": "alert.test",
        "timestamp": format_time(now),
        "data": {
            "state": "resolved",
            "severity": "warning",
            "source": source,
            "url": url,
            "subject_line": "[asu-stats] test",
            "body": f"{words}\nDetails: {url}" if url else words,
        },
    }
    try:
        channel.send(f"test-{new_id()}", body)
    except DeliveryError as error:
        return str(error)
    return None


def _key(address: str) -> str:
    return sha256(address.encode()).hexdigest()[:16]


def _post(hook: Webhook, message_id: str, body: Mapping[str, Any]) -> None:
    posting.post(hook, message_id, body, utc_now())


def _apprise(urls: Sequence[str]) -> list[Channel]:
    if not urls:
        return []
    try:
        import apprise
    except ModuleNotFoundError:
        raise InvalidSettingError("notify: apprise is missing: install asu-stats[alerts]") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages may contain addresses
    found = []
    for number, url in enumerate(urls, 1):
        service = apprise.Apprise.instantiate(url)
        if not isinstance(service, apprise.NotifyBase):
            raise InvalidSettingError(f"notify: number {number} is not an Apprise URL")
        name = f"notify {number} ({url.partition(':')[0]})"
        found.append(Channel(_key(url), name, partial(_notify, service)))
    return found


def _notify(service: Any, _message_id: str, body: Mapping[str, Any]) -> None:
    data = body["data"]
    kind = "success" if data["state"] == "resolved" else "failure"
    if data["severity"] != "critical" and kind == "failure":
        kind = "warning"
    try:
        done = service.notify(
            body=data["body"], title=data["subject_line"], notify_type=kind, body_format="text"
        )
    except Exception as error:  # each service raises its own exceptions
        raise DeliveryError(reason(error)) from error
    if not done:
        raise DeliveryError("not accepted")
