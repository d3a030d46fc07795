"""The demo: a believable past, and visitors that keep it going."""
