"""Verification: rollups counted again from the details, compared and repaired."""
