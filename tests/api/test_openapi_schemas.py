"""The OpenAPI document explains every field of every response."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Stats


def explained(schema: dict[str, Any]) -> bool:
    """Tell whether a schema has a description, or refers to one that has."""
    inner = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    inner += [schema["items"]] if "items" in schema else []
    return bool(schema.get("description") or "$ref" in schema) or any(map(explained, inner))


def unexplained(components: dict[str, Any]) -> Iterator[str]:
    for name, schema in components.items():
        if not schema.get("description"):
            yield name
        for field, found in schema.get("properties", {}).items():
            if not explained(found):
                yield f"{name}.{field}"


def test_every_field_has_a_description(sqlite_stats: Stats) -> None:
    document = sqlite_stats.client.get("/openapi.json").json()
    assert len(document["components"]["schemas"]) > 50
    assert list(unexplained(document["components"]["schemas"])) == []


@pytest.mark.parametrize("schema", [{"type": "string"}, {"items": {"type": "string"}}])
def test_a_field_without_one_would_be_found(schema: dict[str, Any]) -> None:
    components = {"Row": {"description": "A row.", "properties": {"name": schema}}}
    assert list(unexplained(components)) == ["Row.name"]
