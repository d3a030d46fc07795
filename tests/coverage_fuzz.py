"""Coverage-guided fuzzing of everything that reads data from outside, with atheris.

    python -m tests.coverage_fuzz [SECONDS] [TARGET…]

Each target gets generated inputs of at most 16 KiB for so many seconds. A finding is an exception
that the reader does not document, or an input that takes more than 50 ms of processor time.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

SIZE: Final = 16_384
BOUND_SECONDS: Final = 0.05
_RUNS: Final = re.compile(r"Done (\d+) runs")
_EVENT: Final = {
    "specversion": "1.0",
    "id": "1",
    "source": "https://sysupgrade.example.org",
    "type": "asu.request.received",
    "time": "2026-09-30T12:00:00Z",
    "data": {
        "request_hash": "hash-1",
        "outcome": "queued",
        "version": "24.10.2",
        "target": "ath79/generic",
        "profile": "tplink_archer-c7-v5",
        "diff_packages": True,
        "client": "luci/25.1",
        "packages": ["luci", "tcpdump"],
        "rootfs_size_mb": 256,
    },
}
_BUILD: Final = {
    **_EVENT,
    "type": "asu.build.finished",
    "data": {
        "build_id": "b",
        "request_hash": "hash-1",
        "status": "failure",
        "error_message": "No space left on device",
        "duration_seconds": 7,
        "phases": {"building_image": 3.5},
    },
}
_ERRORS: Final = (
    "make[2]: *** [Makefile:190: package_install] Error 255",
    "Collected errors:\n * opkg_install_cmd: Cannot install package luci-app-x.",
    "ERROR: unable to select packages:\n  tcpdump (no such package):\n    required by: world[x]",
    "wget: server returned error: HTTP/1.1 404 Not Found",
    '{"detail": "Unsupported profile: foo"}',
)

Try = Callable[[bytes], object]
Target = tuple[Try, Sequence[bytes]]


def _events() -> Target:
    from starlette.datastructures import Headers
    from starlette.exceptions import HTTPException

    from asu_stats.api.event_bodies import batch_of, form_of
    from asu_stats.cloudevents import from_cloudevent, to_cloudevent
    from asu_stats.exceptions import InvalidEventError

    kinds = (
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/x-ndjson",
    )

    def read(data: bytes) -> None:
        with contextlib.suppress(InvalidEventError, HTTPException):
            headers = Headers({"content-type": kinds[data[0] % len(kinds)] if data else ""})
            body = data[1:]
            if data and data[0] >= 250:  # binary mode: attributes are in headers
                names, _, body = body.partition(b"\n\n")
                raw = [line.partition(b":")[::2] for line in names.split(b"\n")]
                marks = [(b"ce-" + key.lower(), value) for key, value in raw]
                headers = Headers(raw=[(b"content-type", b"application/json"), *marks])
            for item in batch_of(form_of(headers), headers, body).items:
                event = from_cloudevent(item, now=None)
                again = from_cloudevent(to_cloudevent(event), now=None, imported=True)
                assert again == event, (again, event)

    both = [json.dumps(each).encode() for each in (_EVENT, _BUILD)]
    binary = b"\xfa" + b"\n".join(
        f"{key}:{value}".encode() for key, value in _EVENT.items() if isinstance(value, str)
    )
    data = json.dumps(_EVENT["data"]).encode()
    seeds = [b"\0" + both[0], b"\1" + both[1], b"\3" + both[0] + b"\n" + both[1]]
    seeds += [b"\2[" + both[0] + b"," + both[1] + b"]", binary + b"\n\n" + data]
    return read, seeds


def _times() -> Target:
    from asu_stats.cloudevents import parse_time
    from asu_stats.exceptions import InvalidEventError
    from asu_stats.importers import go_times

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        with contextlib.suppress(ValueError):
            assert go_times.parse(text).tzinfo is not None
        go_times.micros(text)
        with contextlib.suppress(InvalidEventError):
            assert parse_time(text).tzinfo is not None

    seeds = [b"2026-01-04 09:12:22.12 +0100 CET m=+86412.000000001", b"2026-01-04T09:12:22Z"]
    seeds += [
        b"2026-01-04 09:12:22",
        b"2026-02-29T23:59:60.123456789-14:00",
        b"0001-01-01 00:00:00",
    ]
    return read, seeds


def _arguments() -> Target:
    import pickle
    import zlib

    from asu_stats.importers.rq_arguments import request

    def read(data: bytes) -> None:
        request(data)
        request(zlib.compress(data, 1))

    fields = ("distro", "version", "version_code", "target", "profile", "packages")
    seed = {name: name for name in fields}
    seeds = [pickle.dumps(({**seed, "packages": ["a"], "packages_versions": {}},), 5)]
    return read, seeds


def _classifier() -> Target:
    from asu_stats.error_types import TAXONOMY, classify

    classify("the first call builds the automaton")

    def read(data: bytes) -> None:
        assert classify(data.decode("utf-8", "surrogateescape")) in TAXONOMY

    return read, [text.encode() for text in _ERRORS]


def _fingerprints() -> Target:
    from asu_stats import fingerprints

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        found = fingerprints.of(text, "packages", "package_not_found")
        assert found == fingerprints.of(text, "packages", "package_not_found")
        fingerprints.package_of(text)

    return read, [text.encode() for text in _ERRORS]


def _spool() -> Target:
    from asu_stats.cloudevents import from_cloudevent
    from asu_stats.events import Event
    from asu_stats.recorder import records

    event = from_cloudevent(_EVENT, now=None)
    record = records.encode(event)
    file = os.memfd_create("spool")

    def read(data: bytes) -> None:
        content = data + b"\n" + record  # an intact record after any damage must come back
        os.ftruncate(file, 0)
        os.pwrite(file, content, 0)
        offset, events = 0, list[Event]()
        while batch := records.read(file, offset, len(content), 100):
            assert batch.end > offset
            offset, events = batch.end, [*events, *batch.events]
        assert event in events

    seeds = [
        record,
        record[:100] + record,
        b"\0" * 40 + record + b"\0\0",
        record.replace(b"a", b"b"),
    ]
    return read, seeds


def _blocks() -> Target:
    import zlib

    import numpy as np

    from asu_stats.store.blocks import codec
    from asu_stats.store.blocks.cubes import CUBES
    from asu_stats.store.blocks.keys import Column, Vocabulary

    def vocabulary() -> Vocabulary:
        return Vocabulary(
            next(cube for cube in CUBES if cube.name.startswith("client_versions")).orders
        )

    def read(data: bytes) -> None:
        for payload in (data, zlib.compress(data, 1)):
            with contextlib.suppress(codec.DamagedBlockError):
                codec.decode(vocabulary(), payload)

    return read, _stored_blocks(codec, Column, np, vocabulary())


def _stored_blocks(codec: Any, column: Any, np: Any, names: Any) -> list[bytes]:
    import zlib

    keys = [column.of(["a", "b", "a"]), column.of(["x", "y", "z"])]
    block = codec.Block.of(names.numbers(keys), np.arange(6).reshape(3, 2))
    payload = codec.encode(names, block)
    return [payload, zlib.decompress(payload)]


TARGETS: Final[dict[str, Callable[[], Target]]] = {
    "events": _events,
    "times": _times,
    "rq-arguments": _arguments,
    "classifier": _classifier,
    "fingerprints": _fingerprints,
    "spool": _spool,
    "blocks": _blocks,
}


def _fuzz(name: str, seconds: int, place: Path) -> None:
    """Fuzz one target in this process, which ends with it."""
    atheris = importlib.import_module("atheris")

    with atheris.instrument_imports(include=["asu_stats", "pickletools"]):
        read, seeds = TARGETS[name]()
    corpus = place / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    slowest = 0.0

    def once(data: bytes) -> float:
        began = time.thread_time()
        read(data)
        return time.thread_time() - began

    def one(data: bytes) -> None:
        nonlocal slowest
        took = once(data)
        if took > slowest:
            took = min(took, *(once(data) for _ in range(4)))  # the machine may have stumbled
        if took > slowest:
            slowest = took
            (place / "slowest").write_text(str(took))
            if took > BOUND_SECONDS:
                raise TimeoutError(f"{took * 1000:.0f} ms for {len(data)} bytes")

    limits = [
        f"-max_total_time={seconds}",
        f"-max_len={SIZE}",
        "-rss_limit_mb=2048",
        "-verbosity=1",
    ]
    arguments = ["fuzz", *limits, f"-artifact_prefix={place}/", str(corpus)]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


def _run(name: str, seconds: int) -> tuple[int, float, str]:
    """Return the number of inputs, the seconds of the slowest, and the finding, if any."""
    with tempfile.TemporaryDirectory(prefix="asu-stats-fuzz-") as directory:
        place = Path(directory)
        command = [
            sys.executable,
            "-m",
            "tests.coverage_fuzz",
            "--one",
            name,
            str(seconds),
            directory,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 600,
            check=False,
        )
        runs = _RUNS.search(done.stderr) or re.search(r"#(\d+)[^#]*$", done.stderr)
        slowest = place / "slowest"
        took = float(slowest.read_text()) if slowest.exists() else 0.0
        finding = ""
        if done.returncode:
            crash = next(place.glob("crash-*"), None) or next(place.glob("timeout-*"), None)
            data = crash.read_bytes()[:400] if crash else b""
            finding = f"{done.stdout[-1500:]}{done.stderr[-1500:]}\ninput: {data!r}"
        return int(runs[1]) if runs else 0, took, finding


def main(arguments: Sequence[str]) -> int:
    if importlib.util.find_spec("atheris") is None:
        sys.stdout.write("atheris is not installed: coverage-guided fuzzing is skipped\n")
        return 0
    seconds = int(arguments[0]) if arguments else 60
    chosen: Iterable[str] = arguments[1:] or TARGETS
    failed = 0
    sys.stdout.write(f"{'target':14}{'inputs':>12}{'slowest':>12}  findings\n")
    for name in chosen:
        runs, took, finding = _run(name, seconds)
        failed += bool(finding)
        sys.stdout.write(
            f"{name:14}{runs:12,}{took * 1000:9.1f} ms  {int(bool(finding))}\n{finding}"
        )
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _fuzz(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    sys.exit(main(sys.argv[1:]))
