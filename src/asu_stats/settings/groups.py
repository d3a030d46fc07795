"""The settings by subject, in the order of `docs/configuration.md`."""

from typing import Final

from pydantic import BaseModel

from asu_stats.settings.building import BuildRequests, Builds, Images
from asu_stats.settings.monitoring import Insights, Jobs, Log, Monitoring
from asu_stats.settings.serving import Access, Legacy, RateLimits
from asu_stats.settings.storage import Recording, Retention, Storage

_MODELS: Final[dict[str, type[BaseModel]]] = {
    "Database and spool": Storage,
    "Recording": Recording,
    "Access and embedding": Access,
    "Rate limits": RateLimits,
    "Retention and archive": Retention,
    "Jobs": Jobs,
    "Metrics and alerts": Monitoring,
    "Log": Log,
    "Insights": Insights,
    "Legacy endpoints": Legacy,
    "Build service": Builds,
    "Images": Images,
    "Build requests and clients": BuildRequests,
}
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    title: tuple(model.model_fields) for title, model in _MODELS.items()
}
