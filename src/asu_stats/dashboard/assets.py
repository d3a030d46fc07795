"""Style sheets, scripts and icons, read once per process, compressed at first use.

The URL contains a digest of all files, so browsers can cache them forever, and modules can import
each other by relative names.
"""

import mimetypes
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from asu_stats import compression, etags

_DIRECTORY: Final = Path(__file__).parent / "static"
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
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
        self._compressed: dict[tuple[str, str], bytes] = {}

    def content(self, name: str) -> bytes:
        return self._files[name]

    def respond(self, request: Request) -> Response:
        """Return a file. A URL with the current digest is cached forever. Raises a 404."""
        name: str = request.path_params["name"]
        file = name.removeprefix(f"{self.digest}/")
        content = self._files.get(file)
        if content is None:
            raise HTTPException(404, "Not Found")
        headers = {
            "Cache-Control": _IMMUTABLE if file != name else "no-cache",
            "ETag": f'W/"{self.digest}"',
            "Vary": "Accept-Encoding",
        }
        if etags.matches(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        coding = compression.preferred(request.headers.get("accept-encoding", ""))
        if coding:
            if (coding, file) not in self._compressed:
                self._compressed[coding, file] = compression.encode(coding, content)
            content, headers["Content-Encoding"] = self._compressed[coding, file], coding
        media_type = _TYPES.get(Path(file).suffix) or mimetypes.guess_type(file)[0] or "text/plain"
        return Response(content, headers=headers, media_type=media_type)


@lru_cache(maxsize=1)
def package_assets() -> Assets:
    return Assets()
