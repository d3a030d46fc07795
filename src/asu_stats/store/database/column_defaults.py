"""Defaults of columns that SQLite and PostgreSQL write differently."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class utc_now(FunctionElement[datetime]):  # noqa: N801 - named as SQL functions are
    """Default of a column: the time of the statement in UTC, without zone."""

    inherit_cache = True
    type = DateTime()


@compiles(utc_now)
def _utc_now(_element: utc_now, _compiler: object, **_options: object) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(utc_now, "postgresql")
def _utc_now_of_any_session(_element: utc_now, _compiler: object, **_options: object) -> str:
    return "(CURRENT_TIMESTAMP AT TIME ZONE 'UTC')"


class random_name(FunctionElement[str]):  # noqa: N801
    """Default of a column: a text of 128 random bits."""

    inherit_cache = True
    type = Text()


@compiles(random_name)
def _random_name(_element: random_name, _compiler: object, **_options: object) -> str:
    return "(lower(hex(randomblob(16))))"


@compiles(random_name, "postgresql")
def _random_uuid(_element: random_name, _compiler: object, **_options: object) -> str:
    return "CAST(gen_random_uuid() AS TEXT)"


class random_number(FunctionElement[int]):  # noqa: N801
    """Default of a column: a negative random number of more than 50 bits."""

    inherit_cache = True
    type = BigInteger()


@compiles(random_number)
def _random_number(_element: random_number, _compiler: object, **_options: object) -> str:
    return "(-1 - abs(random() / 2))"


@compiles(random_number, "postgresql")
def _number_of_uuid(_element: random_number, _compiler: object, **_options: object) -> str:
    digits = "left(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 15)"
    return f"(-1 - CAST(CAST('x' || {digits} AS BIT(60)) AS BIGINT))"
