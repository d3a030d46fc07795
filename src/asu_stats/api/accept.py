"""The preference of an `Accept` header for CSV or JSON (RFC 9110 §12.5.1)."""

import re
from typing import Final

_OFFERS: Final = re.compile(
    r"(?:^|,)\s*(text/csv|application/json|application/\*|\*/\*)\s*(;[^,]*)?(?=,|$)"
)
_WEIGHT: Final = re.compile(r";\s*q\s*=\s*([^;\s]*)")
_NUMBER: Final = re.compile(r"[0-9]{0,9}\.?[0-9]{1,9}|[0-9]{1,9}\.")


def wants_csv(accept: str) -> bool:
    """Return whether an `Accept` header prefers CSV to JSON, in time linear in its length."""
    accept = accept.lower()
    if "csv" not in accept:
        return False
    csv = other = 0.0
    for media, parameters in _OFFERS.findall(accept):
        weight = 1.0
        for value in _WEIGHT.findall(parameters):
            weight = float(value) if _NUMBER.fullmatch(value) else 0.0
        if media == "text/csv":
            csv = max(csv, weight)
        else:
            other = max(other, weight)
    return csv > other
