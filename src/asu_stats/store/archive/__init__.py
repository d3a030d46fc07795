"""The archive: expired details, in tables or files, and how they are restored."""
