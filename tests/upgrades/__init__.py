"""Upgrades of databases that older programs wrote."""
