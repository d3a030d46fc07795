"""The store: details and rollups, written together in one transaction."""
