"""Importers: history of older servers as events. They do not know the store."""
