"""Which package names exist, as far as the demo can tell.

`data/package_stems.txt` has the first word of the names in OpenWrt's feeds. Full names would not
do: many are made by macros, and each release has others.
"""

import re
from functools import cache
from importlib import resources
from typing import Final

_WORD: Final = re.compile(r"[-_]")
# What a LuCI package is for stands behind these.
_OF_LUCI: Final = frozenset({"app", "i18n", "mod", "proto", "theme"})
_LIBRARY: Final = "lib"
_MODULE: Final = "kmod"


def is_known(package: str) -> bool:
    """Tell whether there may be such a package: a name that was made up or mistyped has none."""
    first, *more = _WORD.split(package.lower())
    if first == "luci" and len(more) > 1 and more[0] in _OF_LUCI:
        first = more[1]
    if first == _MODULE:
        return bool(more)
    return first in _stems() or (first.startswith(_LIBRARY) and len(first) > len(_LIBRARY))


@cache
def _stems() -> frozenset[str]:
    source = resources.files("asu_stats") / "data" / "package_stems.txt"
    return frozenset(source.read_text(encoding="utf-8").split())
