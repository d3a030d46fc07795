"""Verification: rollups are recounted from the details, compared and repaired."""
