"""Foreign history to events: what reads an older server's data knows nothing of the store."""
