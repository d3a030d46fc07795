"""JSON from outside, read strictly: no duplicate members, no constants that are not JSON."""

import json
from typing import Any, NoReturn


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a duplicate member")
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_refuse_constant)


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8 (RFC 8259), read strictly.

    Raises `ValueError` with a message for the sender for anything else: bad UTF-8, NaN, duplicate
    members, nesting that is too deep, numbers that are too long.
    """
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        problem = str(error)
        raise ValueError("a number is too long" if "int" in problem else problem) from None
