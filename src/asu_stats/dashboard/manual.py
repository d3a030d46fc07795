"""The manual: a site that `manual/build.py` makes of docs/. Wheels contain it."""

import mimetypes
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from asu_stats import compression, etags
from asu_stats.policies import declare

DIRECTORY: Final = Path(__file__).parent.parent / "manual"
MIGRATION: Final = "migration.html#legacy-endpoints"
_MISSING: Final = "The manual is not built. In a checkout, run `make manual`, or read docs/"
_TEXT: Final = (".html", ".css", ".js", ".svg", ".json", ".txt")
_TYPES: Final = {".js": "text/javascript", ".woff2": "font/woff2"}
# That of all pages, and its icons are a font.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


def install(routes: APIRouter) -> None:
    """Add the manual to `routes`, and the former address of the migration page."""

    @routes.get("/manual")
    @declare("public", "none")
    def start(request: Request) -> Response:
        return _sent_to(request, "index.html")

    @routes.get("/manual/{name:path}")
    @declare("public", "none")
    def page(request: Request) -> Response:
        if not DIRECTORY.is_dir():
            raise HTTPException(404, _MISSING)
        name: str = request.path_params["name"]
        return _file(request, name) if name else _sent_to(request, "index.html")

    @routes.get("/docs/migration")
    @declare("public", "none", "/docs/")
    def migration(request: Request) -> Response:
        return _sent_to(request, MIGRATION)


def _sent_to(request: Request, page: str) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/manual/{page}", 307)


def _file(request: Request, name: str) -> Response:
    """Return a file of the manual. Raises a 404."""
    path = _files(DIRECTORY, DIRECTORY.stat().st_mtime_ns).get(name)
    if path is None:
        raise HTTPException(404, "Not Found")
    plain, packed, etag = _read(path, path.stat().st_mtime_ns)
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "ETag": etag,
        "Vary": "Accept-Encoding",
    }
    if etags.matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    content = plain
    coding = compression.preferred(request.headers.get("accept-encoding", ""))
    if coding in packed:
        content, headers["Content-Encoding"] = packed[coding], coding
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, headers=headers, media_type=kind)


@lru_cache(maxsize=1)
def _files(directory: Path, _changed: int) -> Mapping[str, Path]:
    """Return the files by their names. No other path is ever read."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path for path in found}


@lru_cache(maxsize=32)  # 3 MB at most
def _read(path: Path, _changed: int) -> tuple[bytes, Mapping[str, bytes], str]:
    """Return the content, text in each coding, and its ETag."""
    content = path.read_bytes()
    packed: dict[str, bytes] = {}
    if path.suffix in _TEXT:
        packed |= {coding: compression.encode(coding, content) for coding in compression.CODINGS}
    return content, packed, etags.of_content(content)
