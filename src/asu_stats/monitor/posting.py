"""Posts messages to webhooks: once, with a short timeout and without redirects."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPException
from typing import Any, Final

from asu_stats.exceptions import reason
from asu_stats.webhook import Webhook

TIMEOUT_SECONDS: Final = 5.0
_FINAL: Final = frozenset({410})  # 410 Gone: the receiver was removed for good


class DeliveryError(Exception):
    """A message was not accepted. `final`: do not retry."""

    def __init__(self, words: str, *, final: bool = False) -> None:
        super().__init__(words)
        self.final = final


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Messages go to the address in the settings only."""

    def redirect_request(self, *_: Any) -> None:
        """Take no redirect."""


_opener: Final = urllib.request.build_opener(_NoRedirects)


def _error_text(error: object) -> str:
    if isinstance(error, HTTPException) and not isinstance(error, OSError):
        return "not an HTTP response"
    return reason(error) if isinstance(error, BaseException) else "the address cannot be used"


def post(webhook: Webhook, message_id: str, body: Mapping[str, Any], now: datetime) -> None:
    """Post a message. Raises `DeliveryError` without the address or the response in its text."""
    encoded = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    call = urllib.request.Request(  # noqa: S310 - the settings accept http and https only
        webhook.address, encoded, webhook.headers(message_id, encoded, now)
    )
    try:
        with _opener.open(call, timeout=TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise DeliveryError(f"status {error.code}", final=error.code in _FINAL) from None
    except (OSError, HTTPException) as error:
        reason = _error_text(getattr(error, "reason", error))
        raise DeliveryError(f"no response: {reason}") from None
