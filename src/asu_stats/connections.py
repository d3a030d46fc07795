"""Facts about an HTTP connection that the API and the dashboard need."""

from starlette.requests import HTTPConnection


def route_path(connection: HTTPConnection) -> str:
    """Return the path without the root path of the service."""
    path: str = connection.scope["path"]
    root: str = connection.scope.get("root_path", "")
    return path.removeprefix(root) if root else path


def wants_page(connection: HTTPConnection) -> bool:
    """Return whether a browser asks for a page, not a program for data."""
    accepts_html = "text/html" in connection.headers.get("accept", "")
    return connection.scope["type"] == "http" and accepts_html
