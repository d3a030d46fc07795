"""Insights: why builds fail, what got worse and since when, and what capacity is needed."""
