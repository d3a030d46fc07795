"""Signed webhooks, as Standard Webhooks have it: who gets one can tell that it is from us, and new.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPException
from typing import Any, Final

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, field_validator

TIMEOUT_SECONDS: Final = 5.0
_PREFIX: Final = "whsec_"
_LEAST, _MOST = 24, 64  # bytes of a secret
_FINAL: Final = frozenset({410})  # the receiver is gone and says so


class Webhook(BaseModel):
    """Where messages are posted, and what they are signed with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: AnyHttpUrl = Field(description="Where messages are posted.")
    secret: SecretStr = Field(description="`whsec_` and 24 to 64 bytes in Base64.")

    @field_validator("secret")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        _decoded(value)
        return value

    def headers(self, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
        """Return the headers that sign a body."""
        timestamp = str(int(now.timestamp()))
        signed = b".".join((message_id.encode(), timestamp.encode(), body))
        digest = hmac.new(_decoded(self.secret), signed, hashlib.sha256).digest()
        return {
            "Content-Type": "application/json",
            "User-Agent": "asu-stats",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


def _decoded(secret: SecretStr) -> bytes:
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(_PREFIX) or not _LEAST <= len(key) <= _MOST:
        raise ValueError(f"expected whsec_ and {_LEAST} to {_MOST} random bytes in Base64")
    return key


class DeliveryError(Exception):
    """A message was not taken. `final`: it is not to be sent again."""

    def __init__(self, words: str, *, final: bool = False) -> None:
        super().__init__(words)
        self.final = final


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An address in the settings is where a message goes, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        """Take no redirect."""


_opener: Final = urllib.request.build_opener(_NoRedirects)


def post(webhook: Webhook, message_id: str, body: Mapping[str, Any], now: datetime) -> None:
    """Post a message. Raises `DeliveryError`; its words name neither address nor answer."""
    encoded = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    call = urllib.request.Request(  # noqa: S310 - the settings take http and https only
        str(webhook.url), encoded, webhook.headers(message_id, encoded, now)
    )
    try:
        with _opener.open(call, timeout=TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise DeliveryError(f"answered {error.code}", final=error.code in _FINAL) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"no answer: {type(reason).__name__}") from None
