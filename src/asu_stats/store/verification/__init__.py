"""Verification: rollups are counted again from the details, compared and repaired."""
