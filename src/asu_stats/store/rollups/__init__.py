"""Rollups: their sums, the facts that add to them, and how they are written."""
