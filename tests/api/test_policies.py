"""Access and budget of routes come only from their declarations."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import Mount, Route, WebSocketRoute

from asu_stats.exceptions import UndeclaredRouteError
from asu_stats.policies import UNKNOWN, Policies, Policy, declare
from tests.api import access_table
from tests.conftest import sqlite_database
from tests.support import Stats


def test_every_path_and_method_is_open_and_limited_as_written(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Odd spellings and unknown methods too: a changed line needs a reason."""
    with Stats.on(sqlite_database(request), tmp_path / "spool", **access_table.OPTIONS) as stats:
        assert list(access_table.lines(stats)) == access_table.FILE.read_text().splitlines()


async def _plain() -> None:
    return None


@declare("public", "none", "/files/")
async def _open() -> None:
    return None


@declare("ingest", "ingest")
async def _sent() -> None:
    return None


def test_a_route_that_declares_nothing_keeps_the_server_from_starting() -> None:
    inner, outer = APIRouter(), FastAPI(openapi_url=None)
    inner.get("/declared")(_open)
    outer.include_router(inner)
    Policies(outer.routes)
    inner.get("/forgotten")(_plain)
    with pytest.raises(UndeclaredRouteError, match="/forgotten"):
        Policies(outer.routes)
    for route in (
        WebSocketRoute("/socket", _plain),
        Mount("/mounted", FastAPI(openapi_url=None)),
        Route("/plain", _plain),
    ):
        with pytest.raises(UndeclaredRouteError, match=route.path):
            Policies([route])


def test_what_the_table_can_not_tell_apart_is_refused() -> None:
    with pytest.raises(UndeclaredRouteError, match="two policies"):
        Policies([Route("/a", _open), Route("/a", _sent, methods=["POST"])])
    inner, outer = APIRouter(), FastAPI(openapi_url=None)
    inner.get("/a")(_open)
    outer.include_router(inner, prefix="/prefix")
    with pytest.raises(UndeclaredRouteError, match="/prefix"):
        Policies(outer.routes)


def test_the_first_route_that_has_a_path_decides() -> None:
    policies = Policies([Route("/a/b", _sent), Route("/a/{name}", _open)])
    open_policy = Policy("public", "none", ("/files/",))
    assert policies.of("/a/b") == Policy("ingest", "ingest")
    assert policies.of("/a/c") == open_policy
    assert policies.of("/files/") == policies.of("/files/a/../b\nc") == open_policy
    for path in ("/a/b/", "/a/c/d\n", "/files", "/", "", "/A/b", "x/files/", "/a/c/d"):
        assert policies.of(path) == UNKNOWN, path


def test_the_documented_access_is_that_of_the_table(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text()
    table = page.partition("| paths | access |")[2].partition("\n\n")[0]
    documented: dict[str, tuple[str, str]] = {}
    for line in table.splitlines()[2:]:
        paths, access, budget = (cell.strip() for cell in line.strip("|").split("|"))
        expected = (
            "build" if "build service" in access else access.strip("`"),
            budget.split(";")[0],
        )
        documented |= dict.fromkeys(re.findall(r"`([^`]+)`", paths), expected)
    with Stats.on(sqlite_database(request), tmp_path / "spool", **access_table.OPTIONS) as stats:
        app: Any = stats.client.app
    for route in app.state.policies.routes:
        covering = [p for p in documented if f"{route.template}/".startswith(f"{p.rstrip('/')}/")]
        nearest = max(covering, key=len)
        budget = route.policy.budget
        found = (route.policy.access, "none" if budget == "none" else f"`{budget}`")
        assert found == documented[nearest], route.template


def test_labels_of_metrics_are_templates() -> None:
    policies = Policies([Route("/a/{name:path}", _open), Route("/b", _sent)])
    assert policies.template("/a/b/c") == "/a/{name}"
    assert policies.template("/b") == "/b"
    assert policies.template("/files/x") is policies.template("/c") is None
