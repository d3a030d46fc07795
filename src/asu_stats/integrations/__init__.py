"""Plug-ins for other build servers: they observe a server and emit its events."""
