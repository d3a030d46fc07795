"""The recorder writes events to the store: batches, group commit, and a spool for outages."""

from asu_stats.recorder.intake import Recorded
from asu_stats.recorder.recorder import Recorder

__all__ = ["Recorded", "Recorder"]
