"""Sources of settings, and misspelt names in them."""

import os
from collections import Counter
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings.words import nearest

PREFIX: Final = "ASU_STATS_"
# Variables that are not settings: the path of the file, and a switch of the browser tests.
_OTHERS: Final = ("config", "require_browser")


def file_path() -> Path:
    """Return the path of the settings file, which may not exist."""
    return Path(os.environ.get(f"{PREFIX}CONFIG", "").strip() or "asu-stats.toml")


def file_source(settings_cls: type[BaseSettings]) -> TomlConfigSettingsSource:
    """Read the settings file. It may be missing unless `ASU_STATS_CONFIG` names it."""
    path = file_path()
    try:
        if f"{PREFIX}CONFIG" in os.environ or os.path.lexists(path):
            path.open("rb").close()
        return TomlConfigSettingsSource(settings_cls, toml_file=path)
    except OSError as error:
        raise InvalidSettingError(f"settings: {path}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidSettingError(f"settings: {path}: {error}") from None


def misspelt(names: Collection[str]) -> list[str]:
    """Return a problem per unknown or repeated environment variable."""
    given = Counter(name.upper() for name in os.environ)
    known = {f"{PREFIX}{name.upper()}": name for name in (*names, *_OTHERS)}
    problems = [f"{name}: given twice" for name in known if given[name] > 1]
    for name in sorted(os.environ):
        upper = name.upper()
        if upper in known:
            continue
        if upper.startswith(PREFIX):  # the common prefix must not count as similarity
            near = nearest(upper.removeprefix(PREFIX), (*names, "config"), PREFIX)
            problems.append(f"{name}: no such setting{near}")
        elif upper.startswith("ASU") and (meant := get_close_matches(upper, known, 1, 0.9)):
            problems.append(f"{name}: no such setting; did you mean {meant[0]}?")
    return problems


def origin(name: str, given: Collection[str]) -> str:
    """Return where a setting was found, as ` (place)`; empty if given in code."""
    variable = f"{PREFIX}{name.upper()}"
    if name in given:
        return ""
    if variable in {each.upper() for each in os.environ}:
        return f" ({variable})"
    return f" ({file_path()})"
