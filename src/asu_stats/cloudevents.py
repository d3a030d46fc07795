"""CloudEvents 1.0 JSON: parses, checks and writes events (docs/reference/events.md)."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NoReturn

from asu_stats.event_times import OLDEST_EVENT, Acceptable
from asu_stats.event_times import format_time as format_time
from asu_stats.events import (
    IMPORTED_OUTCOMES,
    NO_HASH,
    OUTCOMES,
    STATUSES,
    TYPE_NAMES,
    UNKNOWN,
    BuildFinished,
    BuildStarted,
    Event,
    Names,
    RequestReceived,
    new_id,
    shown_hash,
    split_client,
)
from asu_stats.exceptions import InvalidEventError
from asu_stats.text import (
    KIND_BYTES,
    NAME_BYTES,
    NAME_LENGTH,
    clean_text,
    cut_utf8,
    is_absolute_uri,
    is_storable,
    stored_name,
    stored_profile,
)

TYPE_PREFIX: Final = "asu."
ID_LENGTH: Final = 256
SOURCE_LENGTH: Final = 1024
HASH_LENGTH: Final = 128
MESSAGE_BYTES: Final = 16 * 1024
MAX_PACKAGES: Final = 2000
MAX_PHASES: Final = 64
MAX_INTEGER: Final = 2**31 - 1
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 9998
_ENDINGS_WITH_ERROR: Final = frozenset({"rejected", *STATUSES}) - {"success"}

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.(\d{1,64}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)

Data = Mapping[str, Any]
_KINDS: Final[Mapping[type, str]] = {dict: "an object", list: "a list"}


def _invalid(field: str, expected: str, got: object) -> NoReturn:
    if isinstance(got, str):
        shown = ascii(got)
    else:
        shown = _KINDS.get(type(got)) or json.dumps(got, default=str)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    raise InvalidEventError(field, f"expected {expected}, got {shown}")


def _check_present(data: Data, field: str) -> None:
    """Raise `InvalidEventError` for a missing member; `null` is a value."""
    if field not in data:
        raise InvalidEventError(field, "is missing")


def parse_time(text: object, *, field: str = "time") -> datetime:
    """Return the UTC instant of an RFC 3339 time with offset, truncated to microseconds.

    A leap second counts as the last microsecond of its minute. Raises `InvalidEventError`.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        _invalid(field, "an RFC 3339 time with offset such as 2026-09-30T12:00:00.120Z", text)
    day, minute, second, fraction, offset = match.groups()
    micros = (fraction or "")[:6].ljust(6, "0")
    if second == "60":
        second, micros = "59", "999999"
    try:
        local = datetime.fromisoformat(f"{day}T{minute}:{second}.{micros}{offset.upper()}")
        instant = local.astimezone(UTC)
    except (ValueError, OverflowError):
        _invalid(field, "a time that exists", text)
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        _invalid(field, f"a year from {FIRST_YEAR} to {LAST_YEAR} (UTC)", text)
    return instant


def _key(data: Data, field: str, limit: int) -> str:
    """Return a required identifier. Text that cannot be stored unchanged is an error."""
    _check_present(data, field)
    value = data[field]
    if not isinstance(value, str) or not value:
        _invalid(field, "a non-empty string", value)
    if len(value) > limit:
        raise InvalidEventError(field, f"longer than {limit} characters")
    if not is_storable(value):
        raise InvalidEventError(field, "contains NUL or an unpaired surrogate")
    return value


def _optional_text(data: Data, field: str, limit: int = NAME_LENGTH) -> str | None:
    value = data.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        _invalid(field, "a string", value)
    if len(value) > limit:
        raise InvalidEventError(field, f"longer than {limit} characters")
    return value


def _optional_name(data: Data, field: str, limit_bytes: int = NAME_BYTES) -> str | None:
    value = _optional_text(data, field)
    if value is None:
        return None
    stored = stored_profile if field == "profile" else stored_name
    return stored(value, limit_bytes)


def _name(data: Data, field: str) -> str:
    """Return a required name; an empty one is `unknown`."""
    value = _optional_name(data, field)
    if value is None:
        _check_present(data, field)
        _invalid(field, "text", None)
    return value or UNKNOWN


def _hash(data: Data, field: str) -> str:
    _check_present(data, field)
    value = _optional_text(data, field, HASH_LENGTH)
    if not value:
        _invalid(field, "a non-empty string", value)
    return stored_name(value)


def _request_hash(data: Data, *, optional: bool) -> str:
    """Return the request hash, `NO_HASH` where it is `optional` and missing or `null`."""
    return NO_HASH if optional and data.get("request_hash") is None else _hash(data, "request_hash")


def _one_of(data: Data, field: str, allowed: Sequence[str]) -> Any:
    _check_present(data, field)
    value = data[field]
    if not isinstance(value, str) or value not in allowed:
        _invalid(field, f"one of {', '.join(allowed)}", value)
    return value


def _optional_bool(data: Data, field: str) -> bool | None:
    value = data.get(field)
    if value is not None and not isinstance(value, bool):
        _invalid(field, "true or false", value)
    return value


def _optional_int(data: Data, field: str) -> int | None:
    value = data.get(field)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():  # 5.0 is a whole number in JSON
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
        _invalid(field, f"a whole number from 0 to {MAX_INTEGER}", value)
    return value


def _rootfs_size(data: Data) -> int | None:
    """Return the requested size, 0 if the request says that it asks for none."""
    size = _optional_int(data, "rootfs_size_mb")
    return 0 if size is None and "rootfs_size_mb" in data else size


def _is_seconds(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= MAX_INTEGER  # NaN and the infinities fail this too
    )


def _optional_seconds(data: Data, field: str) -> int | None:
    """Return whole seconds, rounded half up."""
    value = data.get(field)
    if value is None:
        return None
    if not _is_seconds(value):
        _invalid(field, f"seconds from 0 to {MAX_INTEGER}", value)
    whole: int = math.floor(value)
    return whole + int(value - whole >= 0.5)  # adding 0.5 first would round just below a half up


def _message(data: Data, field: str) -> str | None:
    value = data.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        _invalid(field, "a string", value)
    return cut_utf8(clean_text(value[:MESSAGE_BYTES]), MESSAGE_BYTES)


def _packages(data: Data) -> tuple[tuple[str, ...] | None, int | None]:
    """Return the package names (the first 2,000 of them) and how many there were."""
    count = _optional_int(data, "package_count")
    value = data.get("packages")
    if value is None:
        return None, count
    if not isinstance(value, list):
        _invalid("packages", "a list of names", value)
    for position, name in enumerate(value):
        if not isinstance(name, str) or len(name) > NAME_LENGTH:
            _invalid(f"packages[{position}]", f"a name of at most {NAME_LENGTH} characters", name)
    packages = tuple(map(stored_name, value[:MAX_PACKAGES]))
    return packages, len(value) if count is None else count


def _phases(data: Data) -> dict[str, float] | None:
    value = data.get("phases")
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MAX_PHASES:
        _invalid("phases", f"an object of at most {MAX_PHASES} members", value)
    for name, seconds in value.items():
        if len(name) > NAME_LENGTH or not _is_seconds(seconds):
            _invalid(f"phases.{ascii(name[:40])[1:-1]}", "a name and its seconds", seconds)
    return {stored_name(name): seconds for name, seconds in value.items()}


def _error(data: Data, status: str) -> dict[str, str | None]:
    """Return message, category and type; a missing category or type is derived.

    Those of successful builds are checked and dropped.
    """
    message = _message(data, "error_message")
    category = _optional_name(data, "error_category", KIND_BYTES)
    error_type = _optional_name(data, "error_type", KIND_BYTES)
    if status not in _ENDINGS_WITH_ERROR:
        return {}
    if not (category and error_type):
        # Only events of errors need the rules, which take a tenth of the emitter's import time.
        from asu_stats.error_types import classify, kind_of

        derived = classify(message, status=status)
        category = category or kind_of(error_type or "") or derived.category
        error_type = error_type or derived.type
    return {"error_message": message, "error_category": category, "error_type": error_type}


def _names(data: Data) -> Names:
    """Return the names that a build event repeats from its request; `unknown` counts as missing."""
    found = {
        field: value
        for field in ("version", "target", "profile")
        if (value := _optional_name(data, field)) and value != UNKNOWN
    }
    return Names(**found, diff_packages=_optional_bool(data, "diff_packages"))


def _request_received(
    source: str, event_id: str, time: datetime, data: Data, *, imported: bool
) -> RequestReceived:
    rejected = data.get("outcome") == "rejected"  # may lack the hash
    request_hash = _request_hash(data, optional=imported or rejected)
    is_history = imported and not request_hash
    outcome = _one_of(data, "outcome", IMPORTED_OUTCOMES if is_history else OUTCOMES)
    diff_packages = _optional_bool(data, "diff_packages")
    if diff_packages is None and not is_history:
        _check_present(data, "diff_packages")
        _invalid("diff_packages", "true or false", None)
    client, client_version = split_client(_optional_text(data, "client"))
    packages, package_count = _packages(data)
    error = _error(data, outcome)
    return RequestReceived(
        source=source,
        id=event_id,
        time=time,
        request_hash=request_hash,
        outcome=outcome,
        version=_name(data, "version"),
        target=_name(data, "target"),
        profile=_name(data, "profile"),
        diff_packages=diff_packages,
        client=client,
        client_version=client_version,
        packages=packages,
        package_count=package_count,
        has_custom_repos=_optional_bool(data, "has_custom_repos"),
        has_defaults=_optional_bool(data, "has_defaults"),
        rootfs_size_mb=_rootfs_size(data),
        **error,
    )


def _build_started(
    source: str, event_id: str, time: datetime, data: Data, *, imported: bool
) -> BuildStarted:
    del imported  # a start always needs a hash
    return BuildStarted(
        source=source,
        id=event_id,
        time=time,
        build_id=_hash(data, "build_id"),
        request_hash=_hash(data, "request_hash"),
        worker_id=_optional_name(data, "worker_id"),
        names=_names(data),
    )


def _build_finished(
    source: str, event_id: str, time: datetime, data: Data, *, imported: bool
) -> BuildFinished:
    status = _one_of(data, "status", STATUSES)
    error = _error(data, status)
    return BuildFinished(
        source=source,
        id=event_id,
        time=time,
        build_id=_hash(data, "build_id"),
        request_hash=_request_hash(data, optional=imported),
        status=status,
        worker_id=_optional_name(data, "worker_id"),
        duration_seconds=_optional_seconds(data, "duration_seconds"),
        phases=_phases(data),
        names=_names(data),
        **error,
    )


_PARSERS: Final[Mapping[str, Callable[..., Event]]] = {
    "asu.request.received": _request_received,
    "asu.build.started": _build_started,
    "asu.build.finished": _build_finished,
}


def _check_envelope(item: Data) -> None:
    """Check the attributes that describe `data`."""
    for field in ("specversion", "time", "data"):
        _check_present(item, field)
    if item["specversion"] != "1.0":
        _invalid("specversion", '"1.0"', item["specversion"])
    for field in ("subject", "dataschema"):
        if not isinstance(item.get(field), str | None):
            _invalid(field, "a string", item[field])
    content_type = item.get("datacontenttype")
    if content_type is not None:
        media = content_type.partition(";")[0].strip() if isinstance(content_type, str) else ""
        if media.lower() != "application/json":
            _invalid("datacontenttype", "application/json", content_type)
    if "data_base64" in item:
        raise InvalidEventError("data_base64", "expected JSON in data instead")


def from_cloudevent(
    item: object,
    *,
    now: datetime | None,
    oldest: date = OLDEST_EVENT,
    imported: bool = False,
) -> Event:
    """Return the event that a parsed CloudEvent holds.

    `imported` history may lack request hashes. `now` is `None` for an event that was accepted
    before: its time and source are not checked again. Raises `InvalidEventError`, which names the
    member, for anything that is not a valid event, and `EventTooEarlyError` for a `time` that
    is ahead of `now` by more than five minutes and at most a day.
    """
    if not isinstance(item, dict):
        _invalid("", "an object", item)
    _check_envelope(item)
    event_id = _key(item, "id", ID_LENGTH)
    source = _key(item, "source", SOURCE_LENGTH)
    event_type = _one_of(item, "type", tuple(_PARSERS))
    time = parse_time(item.get("time"))
    acceptable = None if now is None else Acceptable(now, oldest)
    if acceptable:
        check_source(source)
        acceptable.check(time)
    data = item.get("data")
    if not isinstance(data, dict):
        _invalid("data", "an object", data)
    event = _parsed(event_type, source, event_id, time, data, imported=imported)
    if acceptable:
        acceptable.check_ahead(time)
    return event


def check_source(source: str) -> None:
    """Raise `InvalidEventError` for a source that is not an absolute URI (RFC 3986, §4.3)."""
    if not is_absolute_uri(source):
        _invalid("source", "an absolute URI such as https://sysupgrade.example.org", source)


def _parsed(
    event_type: str, source: str, event_id: str, time: datetime, data: Data, *, imported: bool
) -> Event:
    """Return the event described by `data`. Raises `InvalidEventError`."""
    try:
        return _PARSERS[event_type](source, event_id, time, data, imported=imported)
    except InvalidEventError as error:
        raise InvalidEventError(f"data.{error.field}", error.problem) from None


def new(
    event_type: str,
    *,
    source: str,
    time: datetime,
    data: Data,
    id: str = "",  # noqa: A002
    imported: bool = False,
) -> Event:
    """Create an event of this process, checked like a received one.

    `event_type` is without the prefix, e.g. `request.received`. The default `id` is a new UUID.
    `imported` history may lack request hashes.
    """
    attributes = {"source": source, "id": id or new_id()}
    event_id = _key(attributes, "id", ID_LENGTH)
    _key(attributes, "source", SOURCE_LENGTH)
    instant = time.astimezone(UTC)
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        _invalid("time", f"a year from {FIRST_YEAR} to {LAST_YEAR} (UTC)", format_time(time))
    return _parsed(TYPE_PREFIX + event_type, source, event_id, instant, data, imported=imported)


def _client_string(client: str, version: str) -> str:
    """Return a client string for `split_client`, not longer than the original."""
    known = "" if client == UNKNOWN else client
    return known if version == UNKNOWN else f"{known}/{version}"


def to_cloudevent(event: Event) -> dict[str, Any]:
    """Return the CloudEvents JSON object of `event`; `from_cloudevent` restores an equal event."""
    data: dict[str, Any] = {}
    for field in event.__dataclass_fields__:
        value = getattr(event, field)
        if field in {"source", "id", "time"} or value is None:
            continue
        if field == "request_hash" and value == NO_HASH:
            continue
        if isinstance(value, Names):
            data |= {
                name: repeated
                for name in Names.__dataclass_fields__
                if (repeated := getattr(value, name)) is not None
            }
        else:
            data[field] = list(value) if isinstance(value, tuple) else value
    if isinstance(event, RequestReceived):
        data["client"] = _client_string(event.client, data.pop("client_version"))
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": TYPE_PREFIX + TYPE_NAMES[type(event)],
        "time": format_time(event.time),
        **({"subject": shown_hash(event.request_hash)} if event.request_hash else {}),
        "data": data,
    }
