"""Rollups: which sums there are, which facts add to them, and how they are written."""
