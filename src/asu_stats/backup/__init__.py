"""Backups: one file that holds a consistent state of database, archive files and spool."""
