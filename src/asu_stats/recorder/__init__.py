"""The way of events into the store: batches, group commit, and a spool for outages."""

from asu_stats.recorder.recorder import Recorded, Recorder

__all__ = ["Recorded", "Recorder"]
