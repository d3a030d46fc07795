"""The plug-in for the upstream server (openwrt/asu: FastAPI, RQ, Redis), which stays unmodified.

API process:  uvicorn asu_stats.integrations.upstream:app      in place of asu.main:app
Workers:      RQ_WORKER_CLASS=asu_stats.integrations.upstream.StatsWorker

Both emit events to an asu-stats server. `ASU_STATS_REMOTE_URL`, `ASU_STATS_TOKEN` and
`ASU_STATS_SPOOL_DIRECTORY` are required; without them the plug-in logs one warning and does
nothing. An error in the plug-in never changes a response or a job. See docs/integrate.md.
"""

from typing import Any

from asu_stats.integrations.upstream_worker import StatsWorker

__all__ = ["StatsWorker"]


def __getattr__(name: str) -> Any:
    """Return upstream's `app` with the plug-in, on first access.

    Workers must not import it: upstream's module makes HTTP requests.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from asu.main import app

    from asu_stats.integrations import upstream_requests

    upstream_requests.observe(app)
    globals()["app"] = app
    return app
