"""The packages that the demo can build with.

`data/packages.txt` has the names in OpenWrt's feeds from 22.03 on, for all targets together,
without ABI versions.
"""

import re
from functools import cache
from importlib import resources
from typing import Final

# The version of every demo package, in indexes and manifests.
VERSION: Final = "1.0-r1"
# Such as `20251202`, `1.1`, `-3.11`, and with a digest `5.7.6.e624513f`.
_ABI_VERSION: Final = re.compile(r"-?\d[\d.]*(?:[0-9a-f]{8}|[a-z])?\Z")


def is_known(package: str) -> bool:
    """Return whether a package exists. The name of a library may end in its ABI version."""
    if package in _names():
        return True
    stem = _without_abi(package)
    return package.startswith("lib") and (stem in _names() or stem in _libraries())


@cache
def index() -> dict[str, str]:
    """Return the version of every package."""
    return dict.fromkeys(sorted(_names()), VERSION)


@cache
def _names() -> frozenset[str]:
    source = resources.files("asu_stats") / "data" / "packages.txt"
    return frozenset(source.read_text(encoding="utf-8").split())


@cache
def _libraries() -> frozenset[str]:
    return frozenset(_without_abi(name) for name in _names() if name.startswith("lib"))


def _without_abi(library: str) -> str:
    return _ABI_VERSION.sub("", library)
