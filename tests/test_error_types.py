"""Classification of error texts: known, unseen and hostile ones."""

import csv
import json
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from asu_stats import error_types
from asu_stats.error_types import CATEGORIES, RULES, TAXONOMY, ErrorKind, classify, kind_of

Row = tuple[str, ErrorKind]


def labelled(text: str) -> list[Row]:
    rows = csv.DictReader(text.splitlines(keepends=True))
    return [(row["text"], ErrorKind(row["category"], row["type"])) for row in rows]


GIVEN = labelled((files("asu_stats") / "data" / "errors.csv").read_text(encoding="utf-8"))
UNSEEN = labelled((Path(__file__).parent / "data" / "unseen_errors.csv").read_text("utf-8"))


def misses(rows: list[Row], wrap: Callable[[str], str] = str) -> list[tuple[str, str, str]]:
    return [
        (kind.type, found.type, text)
        for text, kind in rows
        if (found := classify(wrap(text))) != kind
    ]


# The table and the rules


def test_a_type_belongs_to_one_category() -> None:
    assert len({kind.type for kind in TAXONOMY}) == len(TAXONOMY) == 35
    assert CATEGORIES == ("validation", "build", "container", "storage", "network")
    assert kind_of("disk_full") == "storage"
    assert kind_of("image_too_big") == "build"
    assert kind_of("no_such_type") is None


def test_rules_speak_of_known_types_and_in_matching_letters() -> None:
    for rule in RULES:
        phrases = rule.phrases + rule.near + rule.where
        assert kind_of(rule.type), rule
        assert rule.phrases
        assert all(phrase == phrase.lower() and phrase.strip("^$= ") for phrase in phrases), rule


def test_every_type_is_reached() -> None:
    assert {classify(text) for text, _ in GIVEN + UNSEEN} == set(TAXONOMY)


# Known and unknown texts


@pytest.mark.parametrize(("text", "kind"), GIVEN)
def test_given_texts(text: str, kind: ErrorKind) -> None:
    assert classify(text) == kind


def test_unseen_texts() -> None:
    wrong = misses(UNSEEN)

    assert len(UNSEEN) > 1000
    assert len(wrong) <= len(UNSEEN) * 0.01, wrong


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda text: f"Error: {text}", id="prefix"),
        pytest.param(lambda text: f"Traceback (most recent call last):\n  x\nRuntimeError: {text}"),
        pytest.param(lambda text: " ".join(text.split()), id="one line"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="crlf"),
        pytest.param(str.upper, id="upper case"),
        pytest.param(lambda text: text.replace("'", "\u2019").replace('"', "\u201d"), id="quotes"),
        pytest.param(lambda text: f"\x1b[31m{text}\x1b[0m", id="colour"),
        pytest.param(lambda text: json.dumps({"status": 500, "detail": text}), id="answer"),
        pytest.param(
            lambda text: json.dumps(
                {"request": {"version": "24.10.0", "packages": ["redis"]}, "stderr": text}
            ),
            id="answer with request",
        ),
    ],
)
def test_other_clothes_change_nothing(wrap: Callable[[str], str]) -> None:
    wrong = misses(GIVEN + UNSEEN, wrap)

    assert len(wrong) <= len(GIVEN + UNSEEN) * 0.02, wrong


# When two fit


CANNOT = (
    " * opkg_install_cmd: Cannot install package vim.\nmake[2]: *** [Makefile:1: x] Error 255\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CANNOT, "package_not_found"),
        ("Signature check failed.\nRemove wrong Signature file.\n" + CANNOT, "signature_failed"),
        (" * opkg_download: Failed to download http://x, wget returned 8.\n" + CANNOT,
         "download_failed"),
        (" * opkg_install_pkg: Checksum or size mismatch for package vim.\n" + CANNOT,
         "download_corrupt"),
        ("But that file is already provided by package  * vim-full\n" + CANNOT, "package_conflict"),
        ("The following packages conflict with vim:\n" + CANNOT, "package_conflict"),
        ("Error: Could not set up ImageBuilder", "container_setup_failed"),
        ("curl: (6) Could not resolve host: x\nError: Could not set up ImageBuilder",
         "download_failed"),
        ("curl: (60) SSL certificate problem: x\nError: Could not set up ImageBuilder",
         "tls_failed"),
        ('initializing source docker://x: Get "https://x/v2/": dial tcp: lookup x: no such host',
         "container_pull_failed"),
        ('initializing source docker://x: Get "https://x/v2/": x509: certificate has expired',
         "container_pull_failed"),
        ("initializing source docker://x: reading manifest y in x: manifest unknown",
         "container_image_missing"),
        ("error: ext4_allocate_best_fit_partial: failed to allocate 3 blocks, out of space?",
         "image_too_big"),
        ("x.bin is too big: 2 > 1", "image_too_big"),
        ("cp: error writing 'x': No space left on device", "disk_full"),
        ("Work-horse terminated unexpectedly; waitpid returned None; ", "build_timeout"),
        ("Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ", "worker_lost"),
        ('Profile "x" does not exist!\nmake: *** [Makefile:1: image] Error 2',
         "unsupported_profile"),
    ],
)  # fmt: skip
def test_the_most_specific_cause_decides(text: str, expected: str) -> None:
    assert classify(text).type == expected


def test_the_cause_may_stand_anywhere() -> None:
    before = "\n".join(f"Installing kmod-{n} (6.6.73-r1) to root..." for n in range(500))
    after = "make[2]: *** [Makefile:268: build_image] Error 2\n" * 3

    for cause, expected in [
        ("x.itb is too big: 2 > 1", "image_too_big"),
        ("", "imagebuilder_failed"),
    ]:
        assert classify(f"{before}\n{cause}\n{after}").type == expected


@pytest.mark.parametrize(
    "name", ["podman", "conmon", "netavark", "redis-server", "wget-ssl", "luci-ssl-openssl", "x509"]
)
def test_package_names_are_not_causes(name: str) -> None:
    assert classify(f"Unknown package '{name}'.\n{CANNOT}").type == "package_not_found"
    assert classify(f"Impossible package selection: missing ({name})").type == "package_not_found"
    assert (
        classify(f"Cannot satisfy the following dependencies for {name}:\n * \tlibc * ").type
        == "package_unsatisfiable"
    )


def test_what_a_client_sent_is_not_the_cause() -> None:
    assert classify("Unsupported profile: no space left on device").type == "unsupported_profile"
    assert classify("Repository not allowed: http://curl: (60)").type == "repository_not_allowed"
    refused = [{"type": "string_too_long", "loc": ["body", "defaults"], "input": "dial unix"}]
    assert classify(json.dumps(refused)).type == "invalid_request"


# The status


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("timeout", "build_timeout"),
        ("cancelled", "build_cancelled"),
        ("rejected", "invalid_request"),
        ("failure", "unknown"),
        (None, "unknown"),
        ("no such status", "unknown"),
    ],
)
def test_status_decides_where_the_text_says_nothing(status: str | None, expected: str) -> None:
    for silent in (None, "", "  \n", "Internal Server Error"):
        assert classify(silent, status=status).type == expected
    assert classify("No space left on device", status=status).type == "disk_full"


# Hostile texts

SIZE = 100_000
VOCABULARY = " ".join(phrase for rule in RULES for phrase in rule.phrases + rule.near)
HOSTILE = {
    "one line": "a" * SIZE,
    "lines": "x\n" * SIZE,
    "distinct lines": "\n".join(map(str, range(SIZE // 6))),
    "white space": " \t" * SIZE,
    "nul": "\0" * SIZE,
    "controls": "".join(map(chr, range(32))) * (SIZE // 32),
    "surrogates": "\ud800" * SIZE,
    "grows in lower case": "\u0130" * SIZE,
    "half a phrase": 'get "http ' * (SIZE // 10),
    "half an anchor": ": version " * (SIZE // 10),
    "inside words": "xcurl: (" * (SIZE // 8),
    "near, not near enough": "\n".join(f"image {n} redis.exceptions" for n in range(SIZE // 20)),
    "every word": VOCABULARY.replace(" ", "\n") * (SIZE // len(VOCABULARY) + 1),
    "open escapes": "\x1b[3" * SIZE,
    "escaped line ends": "\\n" * SIZE,
    "brackets": "[" * SIZE,
    "braces": '{"a":' * (SIZE // 5),
    "digits": '{"a":' + "9" * SIZE + "}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_has_an_answer(text: str) -> None:
    assert classify(text) in TAXONOMY
    assert classify(text, status="timeout") in TAXONOMY


def test_no_text_takes_no_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules ask when they are imported: a quarter of a second at each start would go into it."""
    monkeypatch.setattr(error_types, "first_rule", None)
    assert classify(None) == classify("") == ErrorKind("build", "unknown")


def test_the_end_of_an_overlong_text_counts() -> None:
    assert classify("x " * SIZE + "\nNo space left on device").type == "disk_full"
    assert classify("x " * SIZE + ": No space left on device").type == "disk_full"
    assert classify("No space left on device\n" + "x " * SIZE).type == "disk_full"


def test_time_is_bounded() -> None:
    started = time.thread_time()
    for text in HOSTILE.values():
        classify(text)

    assert time.thread_time() - started < 2


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_twice_the_text_is_about_twice_the_time(text: str) -> None:
    def seconds(length: int) -> float:
        def once() -> float:
            started = time.thread_time()
            classify(text[:length])
            return time.thread_time() - started

        return min(once() for _ in range(5))

    assert seconds(64_000) <= 4 * seconds(32_000) + 0.01
