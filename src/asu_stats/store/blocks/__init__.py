"""Blocks: precomputed sums of 1, 2, 4, … days, for queries over long time ranges."""
