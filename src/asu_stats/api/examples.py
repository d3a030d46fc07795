"""Examples of the OpenAPI document: real responses, written by `make docs`."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

FILE: Final = resources.files("asu_stats") / "data" / "examples.json"
EXAMPLES: Final[Mapping[str, Any]] = json.loads(FILE.read_text("utf-8"))
