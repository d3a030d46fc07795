"""Long names: stored completely or shortened, and never mixed up."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from asu_stats import cloudevents
from asu_stats.store.verification import verify
from tests.support import NOW, Stats, build, request

# What no index takes whole, and no compression makes small.
_characters: Iterator[str] = map(chr, range(0x20000, 0x2A000))


def wide(length: int = 255) -> str:
    """Return a name of characters that take four bytes each, and that no other name has."""
    return "".join(next(_characters) for _ in range(length))


def test_names_that_are_too_long_for_an_index(stats: Stats) -> None:
    version, target, profile = wide(), wide(), wide()
    kind: dict[str, Any] = {"error_message": "x", "error_category": wide(), "error_type": wide()}
    names: dict[str, Any] = {"version": version, "target": target, "profile": profile}
    client, client_version = wide(), wide(247)
    stats.record(
        request("h1", **names, client=client),
        build("h1", "failure", **kind),
        request("h2", **names, client=f"/{client_version}", outcome="rejected", **kind),
        request("h3", **names, client=f"luci/{client_version}"),
        build("h3", worker_id=wide(), **names),
    )
    shown = stats.get("versions")[0]["version"]
    assert shown[:-13] == version[: len(shown) - 13]
    assert len(shown.encode()) <= 880
    assert (len(stats.get("targets")), len(stats.get("profiles"))) == (1, 1)
    # A name is found by what was sent, and by what answers show.
    for name in (version, shown):
        assert stats.get("targets", version=name)[0]["requests"] == 2
    assert stats.get(f"clients/{client}")["total_requests"] == 1
    assert stats.get(f"clients/{stats.get(f'clients/{client}')['client']}")["total_requests"] == 1
    assert sum(b["requests"] for b in stats.get("timeseries", client=client)) == 1
    (luci,) = stats.get("clients/luci")["client_versions"]
    assert luci["client_version"].startswith(client_version[:200])
    (category,) = stats.get("errors")["by_category"]
    assert category["count"] == 2
    assert len(category["category"].encode()) <= 420
    assert len(category["top_errors"][0]["type"].encode()) <= 420
    assert list(verify.differences(stats.engine)) == []


def test_names_that_differ_at_their_end_stay_different(stats: Stats) -> None:
    name = wide(254)
    short = wide(220)  # 880 bytes: as long as may be
    sent = (f"{name}x", f"{name}y", short)
    stats.record(*(request(f"h{n}", version=version) for n, version in enumerate(sent)))
    rows = stats.get("versions")
    assert len(rows) == 3
    assert short in [row["version"] for row in rows]
    for version in sent:
        assert stats.get("targets", version=version)[0]["requests"] == 1


@pytest.mark.parametrize(
    ("client", "version"),
    [
        ("x" * 46 + "\U00020000" * 209, None),  # cut by bytes alone it would get longer
        ("x" * 255, None),
        ("", "\U00020000" * 254),
        ("\U00020000" * 253, "1"),
        ("luci", "25.1"),
    ],
)
def test_events_can_be_written_and_read_again(client: str, version: str | None) -> None:
    text = client if version is None else f"{client}/{version}"
    long = "x" * 46 + "\U00020000" * 209
    item = request("h1", client=text, version=long, outcome="rejected", error_type=long)
    event = cloudevents.from_cloudevent(item, now=NOW)
    future = datetime(9999, 1, 1, tzinfo=UTC)
    assert cloudevents.from_cloudevent(cloudevents.to_cloudevent(event), now=future) == event
