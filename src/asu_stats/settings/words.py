"""Error messages of settings: which setting, and what would be right."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic.fields import FieldInfo

_NUMBERS: Final = ("int", "float", "greater_than", "less_than")
_EXACT: Final = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "path_type": "expected a path",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "missing": "is missing",
    "finite_number": "expected a number",
    "secret_type": "expected text",
    "model_type": "expected an object",
    "dict_type": "expected an object",
}
Fields = Mapping[str, FieldInfo]


class NestedError(ValueError):
    """Problems in an item of a list, each as `place: what would be right`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `; did you mean NAME?` for the most similar known name, or an empty string.

    With `prefix`, the name is shown as an environment variable.
    """
    found = get_close_matches(name.lower(), list(known), 1, 0.6)
    if not found:
        return ""
    return f"; did you mean {prefix + found[0].upper() if prefix else found[0]}?"


def of_error(error: Mapping[str, Any], fields: Fields) -> str:
    """Return an error of pydantic as `name: what would be right`."""
    kind, last = error["type"], (error["loc"] or ("",))[-1]
    name = ".".join(map(str, error["loc"]))
    if kind == "value_error" and isinstance(error["ctx"]["error"], NestedError):
        return "; ".join(f"{name}.{each}" for each in error["ctx"]["error"].problems)
    if kind == "extra_forbidden":
        return f"{name}: no such setting{nearest(str(last), fields)}"
    if kind.startswith("url_"):
        return f"{name}: expected a URL such as https://example.org"
    field = fields.get(str(last))
    return f"{name}: {_expected(kind, error, field)}"


def _expected(kind: str, error: Mapping[str, Any], field: FieldInfo | None) -> str:
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in _EXACT:
        return _EXACT[kind]
    if kind.startswith("date_"):
        return "expected a day, YYYY-MM-DD"
    if kind == "literal_error" and field:
        return f"expected {_choice(field)}{_got(error)}"
    if field and (kind.startswith(_NUMBERS)):
        return f"expected {_number(field)}{_got(error)}"
    limit = (
        next((each.max_length for each in field.metadata if isinstance(each, MaxLen)), None)
        if field
        else None
    )
    if kind in {"too_long", "string_too_long"} and limit is not None:
        return f"expected at most {limit} {'items' if kind == 'too_long' else 'characters'}"
    return str(error["msg"]).removeprefix("Input should be").strip()


def _got(error: Mapping[str, Any]) -> str:
    given = error["input"]
    shown = str(given).lower() if isinstance(given, bool) else repr(given)
    return f", not {shown}" if len(shown) <= 80 else ""


def _choice(field: FieldInfo) -> str:
    kinds = (field.annotation, *get_args(field.annotation))
    *most, last = next(map(get_args, (kind for kind in kinds if get_origin(kind) is Literal)))
    return f"{', '.join(most)} or {last}"


def _number(field: FieldInfo) -> str:
    kinds = (field.annotation, *get_args(field.annotation))
    text = "a day" if date in kinds else "a whole number" if int in kinds else "a number"
    bounds = {type(each): each for each in field.metadata}
    least, most = bounds.get(Ge), bounds.get(Le)
    above, below = bounds.get(Gt), bounds.get(Lt)
    if least and most:
        return f"{text} from {least.ge} to {most.le}"
    parts = [
        *([f"of at least {least.ge}"] if least else []),
        *([f"above {above.gt}"] if above else []),
        *([f"of at most {most.le}"] if most else []),
        *([f"below {below.lt}"] if below else []),
    ]
    return " ".join((text, " and ".join(parts))).strip()
