"""Errors in the arguments of a command: which argument, its value, and what would be right."""

from typing import Any, Final

import typer

from asu_stats.exceptions import InvalidParameterError

_KINDS: Final = {int: "a whole number", float: "a number"}


def problem_of(error: typer.TyperException) -> str:
    """Return what is wrong with the arguments, in one line without a full stop."""
    parameter = getattr(error, "param", None)
    if hasattr(error, "param_type"):  # only errors about missing parameters have it
        return _missing(parameter)
    invalid = getattr(error.__cause__, "errors", None)  # pydantic's, which is slow to import
    if parameter is not None and invalid and (expected := _expected(parameter)):
        return f"{_name(parameter)} {invalid()[0]['input']}: expected {expected}"
    if hasattr(error, "possibilities"):  # only errors about unknown options have it
        near = " or ".join(sorted(error.possibilities or ()))
        unknown = getattr(error, "option_name", "")
        return f"no such option {unknown}" + (f"; did you mean {near}?" if near else "")
    message = error.message.replace(". Did you mean", "; did you mean")
    return _lower(" ".join(message.split()).rstrip("."))


def wrong(error: InvalidParameterError) -> typer.BadParameter:
    """Return an error about the option that is named like the parameter of an endpoint."""
    option = f"--{error.parameter.removeprefix('--').replace('_', '-')}"
    return typer.BadParameter(f"{option} {error.got}: expected {error.expected}")


def _missing(parameter: Any) -> str:
    expected = _expected(parameter)
    return f"{_name(parameter)} is missing{f': expected {expected}' if expected else ''}"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return str(parameter.opts[0])


def _expected(parameter: Any) -> str:
    """Return the values that a parameter takes, empty if any text."""
    kind = parameter.type_descriptor
    if kind.choices:
        return f"one of {', '.join(map(str, kind.choices))}"
    if kind.annotation not in _KINDS:
        return ""
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    lowest = "" if low is None else f" from {low:,}"
    highest = "" if high is None else f" to {high:,}" if lowest else f" of at most {high:,}"
    return _KINDS[kind.annotation] + lowest + highest


def _lower(message: str) -> str:
    """Return a message of Typer as the rest of a line; a name in capitals stays."""
    return message[:1].lower() + message[1:] if message[1:2].islower() else message
