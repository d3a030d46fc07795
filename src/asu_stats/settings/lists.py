"""Settings that are lists: JSON in the environment, lists and tables in the file."""

import json
from typing import Final

from pydantic import BaseModel, ValidationError

from asu_stats.alert_rules import DEFAULTS, Rule, merged
from asu_stats.settings import checks, words
from asu_stats.webhook import Webhook

TEXTS: Final = (
    "repository_allow_list",
    "command",
    "metrics_clients",
    "notify",
    "live_origins",
    "embed_origins",
)
TABLES: Final[dict[str, type[BaseModel]]] = {"alerts": Rule, "webhooks": Webhook}


def read(name: str, value: object) -> object:
    """Return a list of strings or of objects; alert rules are merged into the defaults."""
    model = TABLES.get(name)
    if isinstance(value, str):
        try:
            value = checks.stripped(json.loads(value))
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list | tuple):
        what = "objects" if model else 'strings, such as ["one", "another"]'
        raise ValueError(f"expected a JSON list of {what}")  # noqa: TRY004
    if model is None:
        return list(value)
    given = merged(value) if model is Rule else value
    return tuple(_object(model, item, place) for place, item in enumerate(given))


def _object(model: type[BaseModel], item: object, place: int) -> BaseModel:
    try:
        return model.model_validate(item)
    except ValidationError as error:
        problems = [words.of_error(each, model.model_fields) for each in error.errors()]
        named = item.get("name") if isinstance(item, dict) else None
        if isinstance(named, str) and named.isprintable():
            problems[-1] += f" (in {named})"
            if any(each["type"] == "missing" for each in error.errors()):
                problems[-1] += words.nearest(named, [rule.name for rule in DEFAULTS])
        raise words.NestedError(
            [f"{place}{'.' * (each[:1] != ':')}{each}" for each in problems]
        ) from None
