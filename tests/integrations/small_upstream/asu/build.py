"""What workers run. The campaign replaces `_build`, as it does in upstream."""

from typing import Any


def build(request: Any) -> dict[str, Any]:
    return _build(request)


def _build(request: Any) -> dict[str, Any]:
    raise NotImplementedError(request)
