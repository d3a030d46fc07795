"""The server: a service behind HTTP, for the command line and for other programs."""

from asu_stats.server.application import Server, create, started
from asu_stats.server.serving import serve

__all__ = ["Server", "create", "serve", "started"]
