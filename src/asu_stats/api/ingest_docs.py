"""The OpenAPI description of event ingest (docs/reference/events.md)."""

from typing import Any, Final

from asu_stats.cloudevents import HASH_LENGTH, ID_LENGTH, MAX_INTEGER, MAX_PHASES, SOURCE_LENGTH
from asu_stats.events import OUTCOMES, STATUSES
from asu_stats.text import NAME_LENGTH

# Stored unchanged, so characters that no database accepts are rejected.
_KEY: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "pattern": r"^[^\u0000]*$"}
_TEXT: Final[dict[str, Any]] = {"type": ["string", "null"]}
_NAME: Final[dict[str, Any]] = {"type": ["string", "null"], "maxLength": NAME_LENGTH}
_HASH: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": HASH_LENGTH}
_BOOL: Final[dict[str, Any]] = {"type": ["boolean", "null"]}
_COUNT: Final[dict[str, Any]] = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_INTEGER}
_SECONDS: Final[dict[str, Any]] = {"type": "number", "minimum": 0, "maximum": MAX_INTEGER}
_ERROR: Final[dict[str, Any]] = {
    "error_message": {**_TEXT, "description": "Longer text is cut at 16 KiB."},
    "error_category": {**_NAME, "description": "Default: derived from error_message."},
    "error_type": {**_NAME, "description": "Default: derived from error_message."},
}
_REPEATED: Final[dict[str, Any]] = {
    "version": _NAME,
    "target": _NAME,
    "profile": _NAME,
    "diff_packages": _BOOL,
}
_BUILD: Final[dict[str, Any]] = {"build_id": _HASH, "request_hash": _HASH, "worker_id": _NAME}


def _event(
    event_type: str, required: list[str], properties: dict[str, Any], **further: Any
) -> dict[str, Any]:
    return {
        "type": "object",
        "title": event_type,
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {**_KEY, "maxLength": ID_LENGTH},
            "source": {**_KEY, "maxLength": SOURCE_LENGTH, "format": "uri"},
            "type": {"const": event_type},
            "time": {"type": "string", "format": "date-time"},
            "subject": _TEXT,
            "dataschema": _TEXT,
            "datacontenttype": {**_TEXT, "pattern": "^application/json *(;.*)?$"},
            "data": {"type": "object", "required": required, "properties": properties, **further},
        },
    }


_REQUEST: Final = _event(
    "asu.request.received",
    ["outcome", "version", "target", "profile", "diff_packages"],
    {
        "request_hash": _HASH,
        "outcome": {"enum": list(OUTCOMES)},
        "version": {"type": "string", "maxLength": NAME_LENGTH},
        "target": {"type": "string", "maxLength": NAME_LENGTH},
        "profile": {"type": "string", "maxLength": NAME_LENGTH},
        "diff_packages": {"type": "boolean"},
        "client": {**_NAME, "description": "`name/version`, e.g. `owut/2024.10.15`."},
        "packages": {
            "type": ["array", "null"],
            "items": {"type": "string", "maxLength": NAME_LENGTH},
            "description": "Names beyond 2,000 are dropped.",
        },
        "package_count": _COUNT,
        "has_custom_repos": _BOOL,
        "has_defaults": _BOOL,
        "rootfs_size_mb": _COUNT,
        **_ERROR,
    },
    # A rejected request can lack a hash.
    anyOf=[
        {"required": ["request_hash"]},
        {"properties": {"outcome": {"const": "rejected"}}},
    ],
)
_STARTED: Final = _event("asu.build.started", ["build_id", "request_hash"], {**_BUILD, **_REPEATED})
_FINISHED: Final = _event(
    "asu.build.finished",
    ["build_id", "request_hash", "status"],
    {
        **_BUILD,
        **_REPEATED,
        **_ERROR,
        "status": {"enum": list(STATUSES)},
        "duration_seconds": {
            **_SECONDS,
            "type": ["number", "null"],
            "description": "Used if no start event was received.",
        },
        "phases": {
            "type": ["object", "null"],
            "maxProperties": MAX_PHASES,
            "propertyNames": {"maxLength": NAME_LENGTH},
            "additionalProperties": _SECONDS,
        },
    },
)
_ANY: Final[dict[str, Any]] = {"anyOf": [_REQUEST, _STARTED, _FINISHED]}
_MANY: Final[dict[str, Any]] = {"type": "array", "items": _ANY, "maxItems": 10_000}

EXAMPLE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "0199f3a2-7c1e-7b7a-9d5e-3a1f0c2b4d6e",
    "source": "https://sysupgrade.example.org",
    "type": "asu.request.received",
    "time": "2026-09-30T12:00:00.120Z",
    "data": {
        "request_hash": "6606d0a9f34059081de18f0868df54266a2f65a50f92e8ba60ce1a4ee066388e",
        "outcome": "queued",
        "version": "24.10.2",
        "target": "mediatek/filogic",
        "profile": "glinet_gl-mt6000",
        "diff_packages": True,
        "client": "luci/25.168.50434~d6b13f6",
        "package_count": 143,
    },
}

EVENT_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": (
        "One CloudEvent, or at most 10,000 as an array or as a line each "
        "(`application/x-ndjson`). At most 8 MiB, also once decompressed: `Content-Encoding` may "
        "be `gzip` or `zstd` (window of at most 8 MiB, RFC 9659). With the header "
        "`ce-specversion` and `application/json` the body is `data` alone and the attributes are "
        "in headers (binary mode)."
    ),
    "content": {
        "application/cloudevents+json": {"schema": _ANY, "example": EXAMPLE},
        "application/cloudevents-batch+json": {"schema": _MANY, "example": [EXAMPLE]},
        "application/json": {"schema": {"anyOf": [_ANY, _MANY]}, "example": EXAMPLE},
        "application/x-ndjson": {"schema": {**_MANY, "description": "One event per line."}},
    },
}
