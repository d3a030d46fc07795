"""Where figures are kept: details and rollups, written together in one transaction."""
