"""The job that evaluates the rules, every minute."""

from collections.abc import Callable
from datetime import datetime

from asu_stats.jobs.definitions import EVERY_MINUTE
from asu_stats.jobs.job import Job
from asu_stats.monitor.watch import Watch
from asu_stats.store.database.leases import Lease, Result


def alerting(watch: Watch, now: Callable[[], datetime]) -> Job:
    def run(lease: Lease) -> Result:
        found = watch.run(now(), guard=lease.guard).evaluation
        firing = sum(alert.state == "firing" for alert in found.alerts)
        return {"rules": len(found.readings), "firing": firing, "incidents": len(found.open)}

    return Job("alerts", "Evaluate the alert rules", EVERY_MINUTE, run)
