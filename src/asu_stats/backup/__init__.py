"""Backups: one file with a consistent state of database, archive files and spool."""
