"""Style sheet, scripts and icon, read and compressed once.

Their directory is named after a digest of all files, so browsers can cache them forever, and
modules can import each other by plain names.
"""

import gzip
import mimetypes
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_DIRECTORY: Final = Path(__file__).parent / "static"
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


class Assets:
    """The files of the package's `static` directory."""

    def __init__(self, directory: Path = _DIRECTORY) -> None:
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        self._files = {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
        digest = blake2b(digest_size=6)
        for name, content in self._files.items():
            digest.update(name.encode() + b"\0" + content + b"\0")
        self.digest = digest.hexdigest()
        self._packed = {name: gzip.compress(c, 9, mtime=0) for name, c in self._files.items()}

    def content(self, name: str) -> bytes:
        return self._files[name]

    def answer(self, request: Request) -> Response:
        """Return a file. Under the current digest it may be cached forever. Raises a 404."""
        name: str = request.path_params["name"]
        plain = name.removeprefix(f"{self.digest}/")
        content = self._files.get(plain)
        if content is None:
            raise HTTPException(404, "Not Found")
        headers = {
            "Cache-Control": _FOR_EVER if plain != name else "no-cache",
            "ETag": f'W/"{self.digest}"',
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if accepts_gzip(request):
            content, headers["Content-Encoding"] = self._packed[plain], "gzip"
        kind = _TYPES.get(Path(plain).suffix) or mimetypes.guess_type(plain)[0] or "text/plain"
        return Response(content, headers=headers, media_type=kind)


@lru_cache(maxsize=1)
def of_the_package() -> Assets:
    return Assets()


def accepts_gzip(request: Request) -> bool:
    """Tell whether the response may be compressed."""
    offers = request.headers.get("accept-encoding", "").lower().split(",")
    return any(offer.strip() in {"gzip", "*"} or "gzip;q=1" in offer for offer in offers)
