"""What a field of a response names, declared next to its type: the public floor reads it.

A name of a dimension is shown to everybody only if enough requests in the time range have it.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Named:
    """The field holds a name of the dimension `kind`, or of the one that its sibling `by` holds."""

    kind: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class _Identifying:
    """The field identifies a request: it is left out beside a name that is not shown."""


IDENTIFYING: Final = _Identifying()
