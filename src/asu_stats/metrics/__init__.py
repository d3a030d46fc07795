"""Metrics for Prometheus. docs/metrics.md lists their names, labels and meanings.

`domain` reads figures from the database on each scrape, `process` counts what happens in this
process, and `exposition` writes both as the text that Prometheus reads.
"""
