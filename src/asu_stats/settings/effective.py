"""The effective settings: each value without secrets, and where it comes from."""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import AnyUrl, BaseModel, SecretStr

from asu_stats.settings import Settings, sources
from asu_stats.settings.groups import GROUPS
from asu_stats.text import counted

HIDDEN: Final = "******"
# Of URLs: the password, and values of the query whose names sound secret.
_PASSWORD: Final = re.compile(r"(://[^/?#\s:@]*:)[^/?#\s]*@")
_SECRET: Final = re.compile(
    r"([?&][^=&\s]*(?:pass|secret|token|key|auth)[^=&\s]*=)[^&#\s]+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Effective:
    """A setting: its value, and `default`, a variable, or the settings file with the line."""

    name: str
    value: object
    source: str


def of(settings: Settings) -> list[Effective]:
    """Return all settings in the order of `docs/configuration.md`."""
    lines = _lines(sources.file_path())
    variables = {name.upper(): name for name in os.environ}
    names = [name for group in GROUPS.values() for name in group]

    def source(name: str) -> str:
        variable = variables.get(f"{sources.PREFIX}{name.upper()}")
        return variable or lines.get(name, "default")

    return [Effective(name, _shown(getattr(settings, name)), source(name)) for name in names]


def _lines(path: Path) -> dict[str, str]:
    """Return the settings in the file, each with its place."""
    try:
        text = path.read_text("utf-8")
    except OSError:
        return {}
    found = {}
    for name in tomllib.loads(text):
        key = re.compile(
            rf"""^[ \t]*(\[\[?[ \t]*)?["']?{re.escape(name)}["']?[ \t]*[]=.]""", re.MULTILINE
        )
        match = key.search(text)
        line = f", line {text.count(chr(10), 0, match.start()) + 1}" if match else ""
        found[name] = f"{path}{line}"
    return found


def _shown(value: Any) -> object:
    """Return a value as JSON has it, without passwords, tokens and the paths of webhooks."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, AnyUrl):
        return f"{value.scheme}://{value.host}/{HIDDEN}"
    if isinstance(value, str):
        return _SECRET.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1{HIDDEN}@", value))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseModel):
        return {name: _shown(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return str(value)


def as_text(value: object) -> str:
    """Return a shown value in one line: lists and objects as JSON, tables by their number."""
    if value is None:
        return ""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return f"{counted(len(value), 'table')}, see --json"
    return value if isinstance(value, str) else json.dumps(value)
