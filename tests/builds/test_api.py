"""The build API over HTTP, as the clients read it."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from asu_stats.builds import api
from asu_stats.builds.schema import build_jobs, build_requests
from asu_stats.builds.service import BuildService
from asu_stats.cloudevents import to_cloudevent
from asu_stats.store.database import engine as engines

from .support import (
    Clock,
    Recorder,
    body,
    failure,
    request,
    rows,
    settings_for,
    success,
)

URL = "/api/v1/build"
PHASES = ("init", "container_setup", "validate_revision", "validate_manifest", "building_image")
COARSE = ("init", "init", "init", "init", "building_image")


@pytest.fixture
def client(service: BuildService) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(api.router(service))
    with TestClient(app) as client:
        yield client


def test_a_build_from_request_to_image(
    client: TestClient, service: BuildService, recorder: Recorder
) -> None:
    answer = client.post(URL, json=body(version_code="r1-abc"))
    request_hash = answer.json()["request_hash"]
    url = f"{URL}/{request_hash}"
    assert answer.status_code == 202
    assert answer.json() == {
        "status": 202,
        "detail": "queued",
        "request_hash": request_hash,
        "enqueued_at": "2026-09-30T12:00:00Z",
        "imagebuilder_status": "queued",
        "queue_position": 0,
    }
    assert answer.headers["X-Imagebuilder-Status"] == "queued"
    assert answer.headers["X-Queue-Position"] == "0"
    assert client.get(url).json() == answer.json()

    job = service.queue.claim("w1")
    assert job
    for phase in PHASES:
        service.queue.progress(job, phase)
        answer = client.get(url)
        assert answer.status_code == 202
        assert answer.json()["detail"] == "started"
        assert answer.json()["imagebuilder_status"] == phase
        assert "queue_position" not in answer.json()
        head = client.head(url)
        assert (head.status_code, head.headers["X-Imagebuilder-Status"]) == (202, phase)
        assert head.headers["X-Queue-Position"] == "0"

    ending, directory = success(service, job.build_id)
    service.queue.finish(
        job, ending, publish=lambda: service.images.publish(directory, request_hash)
    )
    for answer in (client.get(url), client.post(URL, json=body(version_code="r1-abc"))):
        assert answer.status_code == 200
        done = answer.json()
        assert done["status"] == 200
        assert done["detail"] == "done"
        assert done["imagebuilder_status"] == "done"
        assert done["bin_dir"] == request_hash
        assert done["request"]["version_code"] == "r1-abc"
        assert done["images"][0]["name"] == "firmware.bin"
        assert answer.headers["X-Imagebuilder-Status"] == "done"
        assert answer.headers["X-Queue-Position"] == "0"
    image = client.get(f"/store/{done['bin_dir']}/{done['images'][0]['name']}")
    assert (image.status_code, image.content) == (200, b"firmware")
    assert image.headers["Content-Type"] == "application/octet-stream"
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert image.headers["Content-Disposition"].startswith("attachment")
    assert client.head(f"/store/{request_hash}/firmware.bin").headers["Content-Length"] == "8"
    assert recorder.outcomes() == ["queued", "cache_hit"]


OLD_LUCI = "luci/git-24.086.45142-09d5a38"


@pytest.mark.parametrize(
    ("clients", "is_coarse"),
    [
        (["luci/25.168.50434~d6b13f6"], False),
        ([OLD_LUCI, "ofs/v5.1.0"], True),
        (["ofs/v5.1.0", OLD_LUCI, "ofs/v5.1.0"], True),
    ],
    ids=["new", "old first", "old joins"],
)
def test_phases_are_coarse_for_an_old_luci_alone(
    client: TestClient, service: BuildService, clients: list[str], is_coarse: bool
) -> None:
    for each in clients:
        request_hash = client.post(URL, json=body(client=each)).json()["request_hash"]
    job = service.queue.claim("w1")
    assert job
    shown, headers = [], []
    for phase in PHASES:
        service.queue.progress(job, phase)
        answer = client.get(f"{URL}/{request_hash}")
        shown.append(answer.json()["imagebuilder_status"])
        headers.append(answer.headers["X-Imagebuilder-Status"])
    assert shown == list(COARSE if is_coarse else PHASES)
    assert headers == list(PHASES)


def test_an_old_luci_that_joins_late_sees_coarse_phases(
    client: TestClient, service: BuildService
) -> None:
    request_hash = client.post(URL, json=body(client="ofs/v5.1.0")).json()["request_hash"]
    job = service.queue.claim("w1")
    assert job
    service.queue.progress(job, "validate_manifest")
    joined = client.post(URL, json=body(client=OLD_LUCI))
    assert (joined.status_code, joined.json()["imagebuilder_status"]) == (202, "init")
    assert client.get(f"{URL}/{request_hash}").json()["imagebuilder_status"] == "init"

    service.queue.requeue(job)
    again = service.queue.claim("w2")
    assert again
    service.queue.progress(again, "container_setup")
    assert client.get(f"{URL}/{request_hash}").json()["imagebuilder_status"] == "init"


def test_a_failed_build(client: TestClient, service: BuildService, recorder: Recorder) -> None:
    request_hash = client.post(URL, json=body()).json()["request_hash"]
    job = service.queue.claim("w1")
    assert job
    service.queue.finish(job, failure())
    for answer in (client.get(f"{URL}/{request_hash}"), client.post(URL, json=body())):
        assert answer.status_code == 500
        said = answer.json()
        assert said["detail"] == "Error: Impossible package selection: missing (foo)"
        assert said["imagebuilder_status"] == "failed"
        assert said["request_hash"] == request_hash
        assert said["stderr"] == "log\nImpossible package selection: missing (foo)"
        assert said["stdout"] == ""
        assert answer.headers["X-Imagebuilder-Status"] == "failed"
    assert recorder.outcomes() == ["queued", "cached_failure"]


def test_what_is_recorded_of_a_request(client: TestClient, recorder: Recorder) -> None:
    client.post(
        URL,
        json=body(packages=["luci", "-ppp"], rootfs_size_mb=256, diff_packages=True, client=None),
        headers={"User-Agent": "auc (0.3.2-1)"},
    )
    event = recorder.requests()[0]
    assert event.source == "https://asu.example.org"
    assert (event.client, event.client_version) == ("auc", "0.3.2-1")
    assert event.packages == ("luci", "-ppp")
    assert (event.package_count, event.rootfs_size_mb) == (2, 256)
    assert (event.has_custom_repos, event.has_defaults, event.diff_packages) == (False, False, True)
    assert (event.version, event.target, event.profile) == (
        "24.10.2",
        "mediatek/filogic",
        "glinet_gl-mt6000",
    )


def test_without_a_user_agent(client: TestClient, recorder: Recorder) -> None:
    del client.headers["User-Agent"]
    assert client.post(URL, json=body(client=None)).status_code == 202
    assert recorder.requests()[0].client == "unknown"


def test_the_largest_request_makes_an_event_of_moderate_size(
    client: TestClient, recorder: Recorder
) -> None:
    packages = [f"{number:0>128}" for number in range(2000)]
    assert client.post(URL, json=body(packages=packages, client="x" * 255)).status_code == 202
    event = recorder.requests()[0]
    assert event.package_count == 2000
    assert len(json.dumps(to_cloudevent(event))) < 65_536


def test_a_refused_request(client: TestClient, recorder: Recorder, engine: Engine) -> None:
    answer = client.post(URL, json=body(defaults="echo"))
    assert answer.status_code == 400
    assert answer.json() == {
        "status": 400,
        "title": "Bad Request",
        "detail": "Handling `defaults` not enabled on server",
    }
    event = recorder.requests()[0]
    assert (event.outcome, event.error_category, event.error_type, event.error_message) == (
        "rejected",
        "validation",
        "defaults_not_allowed",
        "Handling `defaults` not enabled on server",
    )
    assert rows(engine, build_requests) == []


def test_a_full_queue(engine: Engine, tmp_path: Path, recorder: Recorder, clock: Clock) -> None:
    service = BuildService(
        engine, settings_for(tmp_path, max_pending_jobs=0), recorder, clock=clock
    )
    app = FastAPI()
    app.include_router(api.router(service))
    client = TestClient(app)
    assert client.post(URL, json=body(profile="a")).status_code == 202
    answer = client.post(URL, json=body(profile="b"))
    assert answer.status_code == 529
    assert answer.json() == {
        "status": 529,
        "title": "Server overloaded",
        "detail": "server overload, queue contains too many build requests: 1",
    }
    assert int(answer.headers["Retry-After"]) > 0
    assert client.post(URL, json=body(profile="a")).status_code == 202
    assert recorder.outcomes() == ["queued", "rejected", "joined"]
    assert recorder.requests()[1].error_type == "queue_full"


def test_an_unknown_hash(client: TestClient) -> None:
    for each in ("0" * 64, "x", "0" * 63, "A" * 64, "%00", "0" * 5000):
        answer = client.get(f"{URL}/{each}")
        assert answer.status_code == 404
        assert answer.json() == {
            "status": 404,
            "title": "Not Found",
            "detail": "could not find provided request hash",
        }
    assert client.head(f"{URL}/{'0' * 64}").status_code == 404


def _text(changes: dict[str, Any]) -> bytes:
    return json.dumps(body(**changes)).encode()


GOOD = _text({})
BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"x"',
    "cut off": GOOD[:-1],
    "twice": GOOD[:-1] + b', "version": "24.10.2"}',
    "NaN": GOOD[:-1] + b', "x": NaN}',
    "Infinity": GOOD[:-1] + b', "rootfs_size_mb": 1e999}',
    "5,000 digits": GOOD[:-1] + b', "rootfs_size_mb": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
    "deep inside": GOOD[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not UTF-8": GOOD[:-1] + b', "x": "\xff"}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "surrogate": GOOD[:-1] + b', "client2": "\\ud800"}',
    "surrogate in a name": GOOD[:-1] + b', "\\udfff": 1}',
    "surrogate as package": GOOD[:-1] + b', "packages_versions": {"\\ud800": "1"}}',
    "markup as package": GOOD[:-1] + b', "packages_versions": {"<script>\\u0000": "1"}}',
    "long client": _text({"client": "x" * 900_000}),
    "many packages": _text({"packages": ["a"] * 200_000}),
    "wrong types": _text({"version": [], "target": {}, "profile": 1}),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_bodies_leave_no_trace(
    client: TestClient, recorder: Recorder, engine: Engine, name: str
) -> None:
    answer = client.post(
        URL, content=BAD_BODIES[name], headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    said = answer.json()
    assert said["status"] == 422
    assert said["title"] == "Unprocessable Content"
    assert isinstance(said["detail"], str)
    assert 0 < len(said["detail"]) <= 1000
    assert said["errors"]
    assert all(error["loc"][0] == "body" and error["msg"] for error in said["errors"])
    assert answer.headers["Content-Type"] == "application/json"
    assert recorder.events == []
    assert rows(engine, build_requests) == rows(engine, build_jobs) == []


def chunks(count: int) -> Callable[[], Iterator[bytes]]:
    def each() -> Iterator[bytes]:
        for _ in range(count):
            yield b" " * 65_536

    return each


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b" " * (1 << 20) + GOOD, {"Content-Type": "application/json"}, 413),
        (chunks(17), {"Content-Type": "application/json"}, 413),
        (GOOD, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        (GOOD, {"Content-Type": "text/plain"}, 415),
        (GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (GOOD, {"Content-Type": "application/jsonp"}, 415),
        (GOOD, {}, 415),
        (GOOD, {"Content-Type": "application/json; charset=utf-8"}, 202),
        (GOOD, {"Content-Type": "APPLICATION/JSON", "Content-Encoding": "identity"}, 202),
        (b"\xef\xbb\xbf" + GOOD, {"Content-Type": "application/json"}, 202),
        (GOOD + b" " * ((1 << 20) - len(GOOD)), {"Content-Type": "application/json"}, 202),
    ],
    ids=range(11),
)
def test_bodies_of_other_kinds(
    client: TestClient,
    recorder: Recorder,
    content: bytes | Callable[[], Iterator[bytes]],
    headers: dict[str, str],
    status: int,
) -> None:
    sent = content if isinstance(content, bytes) else content()
    answer = client.post(URL, content=sent, headers=headers)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert isinstance(answer.json()["detail"], str)
    assert len(recorder.events) == (status == 202)


@pytest.fixture
def store(service: BuildService) -> Path:
    root = service.images.root
    (root / "abc").mkdir(parents=True)
    (root / "abc" / "image.bin").write_bytes(b"image")
    (root / "abc" / ".hidden").write_bytes(b"secret")
    (root / ".staging" / "x").mkdir(parents=True)
    (root / ".staging" / "x" / "y.bin").write_bytes(b"secret")
    (root.parent / "secret").write_bytes(b"secret")
    (root / "abc" / "out").symlink_to(root.parent / "secret")
    (root / "linked").symlink_to(root.parent)
    os.mkfifo(root / "abc" / "fifo")
    return root


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "path",
    [
        "abc",
        "abc/",
        "",
        "abc/none",
        "abc/.hidden",
        ".staging/x/y.bin",
        "abc/out",
        "linked/secret",
        "abc/fifo",
        "abc//image.bin",
        "..%2fsecret",
        "%2e%2e/secret",
        "abc/%2e%2e/%2e%2e/secret",
        "..%5csecret",
        "%2fetc%2fpasswd",
        "abc/image.bin%00",
        "abc/" + "x" * 5000,
        "abc/\udcff",
    ],
)
def test_nothing_else_of_the_disk_is_served(client: TestClient, path: str) -> None:
    assert client.get("/store/abc/image.bin").content == b"image"
    answer = client.get(f"/store/{path}".encode("utf-8", "surrogateescape").decode("latin-1"))
    assert answer.status_code == 404
    assert b"secret" not in answer.content


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=1-2", 206, b"ma"),
        ("bytes=-2", 206, b"ge"),
        ("bytes=5-", 416, None),
        ("bytes=3-1", 400, None),
        ("pages=1", 400, None),
        ("x", 400, None),
        (f"bytes=0-{'9' * 5000}", 400, None),
    ],
)
def test_parts_of_an_image(
    client: TestClient, wanted: str, status: int, content: bytes | None
) -> None:
    answer = client.get("/store/abc/image.bin", headers={"Range": wanted})
    assert answer.status_code == status
    if content:
        assert answer.content == content
    else:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["status"] == status
        assert answer.json()["detail"]
    assert (answer.headers.get("Content-Range") == "bytes */5") == (status == 416)


def test_an_image_that_is_retired_as_it_is_asked_for(
    client: TestClient, service: BuildService, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.images, "find", lambda _: store / "abc" / "gone.bin")
    assert client.get("/store/abc/gone.bin").status_code == 404


def test_the_database_is_away(tmp_path: Path, recorder: Recorder) -> None:
    nowhere = engines.create("sqlite:////nowhere/at/all.db")
    app = FastAPI()
    app.include_router(api.router(BuildService(nowhere, settings_for(tmp_path), recorder)))
    client = TestClient(app)
    for answer in (client.post(URL, json=body()), client.get(f"{URL}/{'0' * 64}")):
        assert answer.status_code == 503
        assert answer.json()["status"] == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "nowhere" not in answer.text
    assert client.post(URL, json=body(defaults="x")).status_code == 400
    assert recorder.outcomes() == ["rejected"]


def test_no_full_hash_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="asu_stats"):
        client.post(URL, json=body())
        client.post(URL, json=body())
    assert request().request_hash[:12] in caplog.text
    assert request().request_hash[:13] not in caplog.text


def test_two_hundred_requests_from_fifty_threads(
    client: TestClient, recorder: Recorder, engine: Engine
) -> None:
    def one(number: int) -> int:
        return client.post(URL, json=body(profile=f"p{number % 20}")).status_code

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(one, range(200))) == {202}
    assert sorted(recorder.outcomes()) == ["joined"] * 180 + ["queued"] * 20
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM build_jobs")).scalar_one() == 20


def test_the_document_describes_it(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    post = document["paths"][URL]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == {"version", "target", "profile"}
    assert schema["properties"]["rootfs_size_mb"]["anyOf"][0]["maximum"] == 1024
    assert len(schema["properties"]["repositories"]["anyOf"]) == 2
    assert set(post["responses"]) == {
        "200", "202", "400", "413", "415", "422", "500", "503", "529",
    }  # fmt: skip
    status = document["paths"][URL + "/{request_hash}"]["get"]
    assert {"200", "202", "404", "500", "503"} <= set(status["responses"])
    assert "X-Queue-Position" in status["responses"]["202"]["headers"]
