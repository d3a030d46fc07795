"""From any thread to the store: batches, group commit, and a spool for when the store is away."""

from asu_stats.recorder.recorder import Recorded, Recorder

__all__ = ["Recorded", "Recorder"]
