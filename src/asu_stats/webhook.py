"""Webhooks signed according to Standard Webhooks, so that receivers can verify the sender.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, field_validator

from asu_stats import urls

_PREFIX: Final = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64  # bytes of a secret


class Webhook(BaseModel):
    """The URL that messages are posted to, and the secret that signs them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: AnyHttpUrl = Field(
        repr=False,
        description="Where messages are posted; `https://user:password@…` is basic authentication.",
    )
    secret: SecretStr = Field(description="`whsec_` and 24 to 64 bytes in Base64.")

    @field_validator("url", mode="before")
    @classmethod
    def _absolute(cls, value: object) -> object:
        """Reject URLs that browsers would correct: wrong number of slashes, white space."""
        if isinstance(value, str) and not (
            urls.parse(value) and value.isprintable() and " " not in value
        ):
            raise ValueError("expected a URL such as https://example.org/hook")
        return value

    @field_validator("url")
    @classmethod
    def _user(cls, value: AnyHttpUrl) -> AnyHttpUrl:
        if ":" in unquote(value.username or ""):
            raise ValueError("the user name of basic authentication cannot contain a colon")
        return value

    @field_validator("secret")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        _decoded(value)
        return value

    @property
    def address(self) -> str:
        """The URL without user and password."""
        return urls.without_user(str(self.url))

    def headers(self, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
        """Return the headers with the signature of a body, and those for authentication."""
        timestamp = str(int(now.timestamp()))
        signed = b".".join((message_id.encode(), timestamp.encode(), body))
        digest = hmac.new(_decoded(self.secret), signed, hashlib.sha256).digest()
        user, password = unquote(self.url.username or ""), unquote(self.url.password or "")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {
            **({"Authorization": f"Basic {basic}"} if user or password else {}),
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
    if not text.startswith(_PREFIX) or not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise ValueError(f"expected whsec_ and {_MIN_BYTES} to {_MAX_BYTES} random bytes in Base64")
    return key
