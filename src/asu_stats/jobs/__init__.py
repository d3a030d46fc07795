"""Scheduled jobs: jobs as data, one runner, one scheduler."""
