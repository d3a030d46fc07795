"""Details: one row per event identity, request, build and error."""
