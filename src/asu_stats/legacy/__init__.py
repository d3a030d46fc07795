"""Endpoints and table of the servers before this one, kept until their sunset.

Nothing but `server.application` and `service.running` imports this folder. To end it: delete the
folder and what they import of it, the settings `legacy_…`, and docs of both; the rollup
`stats_legacy` goes with a migration.
"""
