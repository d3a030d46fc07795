"""All settings: default, unit, bounds and meaning in one place, read once and handed down.

They come from `ASU_STATS_*` environment variables, else from `asu-stats.toml` (or the file that
`ASU_STATS_CONFIG` names), else from the defaults. A module per subject declares them.
"""

from datetime import date
from typing import Final

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from asu_stats.exceptions import InvalidSettingError
from asu_stats.settings import checks, lists, sources, words
from asu_stats.settings.building import BuilderName, BuildRequests, Builds, Images
from asu_stats.settings.monitoring import Insights, Jobs, Log, Monitoring
from asu_stats.settings.serving import Access, Legacy, LegacyShape, RateLimits, ReadAccess
from asu_stats.settings.storage import Recording, Retention, Storage

__all__ = ["BuilderName", "LegacyShape", "ReadAccess", "Settings", "load"]

_PATHS: Final = (
    "spool_directory",
    "archive_directory",
    "store_directory",
    "catalogue",
    "release_days",
    "follow_go_builder",
)
_MAY_BE_EMPTY: Final = ("root_path", "public_url", "rate_limit_storage", "metadata_url")


class Settings(
    BuildRequests,
    Images,
    Builds,
    Legacy,
    Insights,
    Log,
    Monitoring,
    Jobs,
    Retention,
    RateLimits,
    Access,
    Recording,
    Storage,
    BaseSettings,
):
    """Every option of the program; `make docs` writes `docs/configuration.md` from these fields.

    Fields of the last base class are validated first: checks can read those of later ones.
    """

    model_config = SettingsConfigDict(env_prefix="ASU_STATS_", extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _understood(cls, value: object, info: ValidationInfo) -> object:
        """Strip white space, parse lists, and refuse values that pydantic would misread."""
        name, value = str(info.field_name), checks.stripped(value)
        if value == "" and name not in _MAY_BE_EMPTY:
            raise ValueError("is empty; leave it out for its default")
        if name in lists.TEXTS or name in lists.TABLES:
            value = lists.read(name, value)
        kind = cls.model_fields[name].annotation
        if kind in {date, date | None}:
            return checks.day(value)
        if isinstance(value, bool) and kind in {int, float}:
            return str(value).lower()  # not a number: pydantic refuses the text
        return checks.path(value) if name in _PATHS else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: given in code, environment, file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, sources.file_source(settings_cls)


def load(**overrides: object) -> Settings:
    """Return the settings; `overrides` that are `None` are ignored.

    Raises `InvalidSettingError`, which names each setting that can't be used.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    fields = Settings.model_fields
    problems = sources.misspelt(fields)
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        problems += [
            words.of_error(each, fields) + sources.origin(str(each["loc"][0]), given)
            for each in error.errors()
        ]
    except (OSError, ValueError) as error:
        raise InvalidSettingError(f"settings: {error}") from None
    if problems:
        raise InvalidSettingError("settings: " + "; ".join(problems))
    return settings
