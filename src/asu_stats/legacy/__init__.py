"""Endpoints and table of older servers, kept until their sunset.

Only `server.application` and `service.running` import this folder. To remove it, delete the folder,
their imports of it, the settings `legacy_…` and the docs of both, and drop the rollup
`stats_legacy` in a migration.
"""
