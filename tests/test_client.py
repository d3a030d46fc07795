"""The test client sends what it is given, however often it has sent something alike."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from tests.client import Client


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the request; `/from` leads to `/to`, and `/cookie` sets one."""
    if scope["type"] != "http":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    request = Request(scope, receive)
    response: Response = JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "headers": {name: request.headers.get(name) for name in ("x-one", "cookie")},
            "body": (await request.body()).decode(),
        }
    )
    if request.url.path == "/from":
        response = RedirectResponse("/to")
    elif request.url.path == "/cookie":
        response.set_cookie("a", "b")
    await response(scope, receive, send)


def sent(client: Client, method: str, path: str, **options: Any) -> tuple[Any, ...]:
    found = client.request(method, path, **options).json()
    headers = found["headers"]
    assert found["method"] == method
    return found["path"], found["query"], headers["x-one"], headers["cookie"], found["body"]


@pytest.mark.parametrize("again", range(2))
def test_each_request_is_sent_as_given(again: int) -> None:
    with Client(echo) as client:
        for _ in range(again + 1):
            assert sent(client, "GET", "/a") == ("/a", "", None, None, "")
            assert sent(client, "GET", "/a", params={}, headers={}) == ("/a", "", None, None, "")
            assert sent(client, "POST", "/a") == ("/a", "", None, None, "")
            assert sent(client, "POST", "/a", json=[1]) == ("/a", "", None, None, "[1]")
            assert sent(client, "GET", "/a?b=c") == ("/a", "b=c", None, None, "")
            for value, text in ((1, "1"), (True, "true"), ("True", "True"), (1.0, "1.0")):
                assert sent(client, "GET", "/a", params={"b": value})[1] == f"b={text}"
            assert sent(client, "GET", "/a", params={"b": [1, 2]})[1] == "b=1&b=2"
            assert sent(client, "GET", "/a", params={"b": 1, "c": 2})[1] == "b=1&c=2"
            assert sent(client, "GET", "/a", params={"c": 2, "b": 1})[1] == "c=2&b=1"
            assert sent(client, "GET", "/a", headers={"X-One": "1"})[2] == "1"
            assert sent(client, "GET", "/a")[2] is None


def test_headers_and_cookies_of_the_client_are_sent() -> None:
    with Client(echo) as client:
        assert sent(client, "GET", "/a")[2:4] == (None, None)
        client.headers["X-One"] = "2"
        assert sent(client, "GET", "/a")[2:4] == ("2", None)
        client.get("/cookie")
        assert sent(client, "GET", "/a")[2:4] == ("2", "a=b")
        client.cookies.clear()
        assert sent(client, "GET", "/a")[2:4] == ("2", None)


def test_redirects_are_followed() -> None:
    with Client(echo) as client:
        for _ in range(2):
            response = client.get("/from")
            assert response.json()["path"] == "/to"
            assert [each.status_code for each in response.history] == [307]
            assert client.get("/from", follow_redirects=False).headers["location"] == "/to"
            assert response.url.path == "/to"
