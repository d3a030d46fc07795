"""Renders templates."""

import contextlib
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from asu_stats import __version__, compression
from asu_stats.dashboard import assets, formats
from asu_stats.dashboard.view import PAGES, PRESETS, TIMELESS
from asu_stats.event_times import format_time
from asu_stats.reports import decimals, floor
from asu_stats.store.database.reading import freshness
from asu_stats.text import counted, markup, plainly

# Placeholder for the origin of the server in snippets, which a script replaces. The server does not
# know its address without `public_url`: a client can send any `Host`.
UNKNOWN_BASE: Final = "https://YOUR-SERVER"


class _CompiledTemplates(FileSystemBytecodeCache):
    """Compiled templates in `__pycache__`, as Python keeps its modules.

    Compiling takes three quarters of the time of the first page. Without write access, every
    process compiles its templates.
    """

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        with contextlib.suppress(OSError):
            Path(self.directory).mkdir(exist_ok=True)
            super().dump_bytecode(bucket)


_templates = Environment(
    loader=PackageLoader("asu_stats.dashboard"),
    bytecode_cache=_CompiledTemplates(str(Path(__file__).parent / "templates" / "__pycache__")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "json": formats.to_json,
    "attribute": formats.to_attribute,
    "number": formats.number,
    "counted": counted,
    "plainly": plainly,
    "plain": formats.plain,
    "rate": formats.rate,
    "points": formats.points,
    "sample_of": decimals.sample_of,
    "duration": formats.duration,
    "moment": formats.moment,
}


def first_event(base: str, now: datetime) -> str:
    """Return the command that sends a first event to the server at `base`."""
    event = {
        "specversion": "1.0",
        "type": "asu.request.received",
        "id": "1",
        "source": "https://asu.example.org",
        "time": format_time(now.replace(microsecond=0)),
        "data": {
            "request_hash": "6606d0a9f340",
            "outcome": "queued",
            "version": "24.10.2",
            "target": "mediatek/filogic",
            "profile": "glinet_gl-mt6000",
            "diff_packages": True,
            "client": "luci/25.168",
        },
    }
    return (
        f"curl {base}/api/v1/stats/events \\\n"
        "  -H 'Authorization: Bearer TOKEN' \\\n"
        "  -H 'Content-Type: application/cloudevents+json' \\\n"
        f"  -d '{json.dumps(event)}'"
    )


def text_of(template: str, /, **values: Any) -> str:
    """Return the text of a template that is not a page."""
    return markup(_templates.get_template(template).render(values))


def render(
    request: Request, template: str, values: Mapping[str, Any], *, status: int = 200
) -> Response:
    """Render a page, compressed if the client accepts that."""
    root = request.scope.get("root_path", "")
    public_url = request.app.state.public_url
    text = _templates.get_template(template).render(
        {
            "root": root,
            "static": f"{root}/static/{assets.package_assets().digest}",
            "version": __version__,
            "pages": PAGES,
            "presets": PRESETS,
            "timeless": TIMELESS,
            "public_url": public_url,
            "base": public_url or f"{UNKNOWN_BASE}{root}",
            "unknown_base": UNKNOWN_BASE,
            "first_event": first_event,
            "view": None,
            "annotations": (),
            "public_floor": floor.min_requests(),
            "freshness": freshness(),
            "session": getattr(request.state, "session", None),
            **values,
        }
    )
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding, Cookie"}
    body = markup(text).encode()
    if coding := compression.preferred(request.headers.get("accept-encoding", "")):
        body, headers["Content-Encoding"] = compression.encode(coding, body), coding
    return HTMLResponse(body, status, headers=headers)
