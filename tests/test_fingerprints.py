"""Texts that differ only in names have one fingerprint; other texts do not."""

import csv
import random
import re
import sys
from collections import defaultdict
from importlib.resources import files

import pytest

from asu_stats import fingerprints
from asu_stats.error_types import TAXONOMY
from asu_stats.fingerprints import LENGTH, package_of, pattern_of
from tests import slow_texts
from tests.test_error_types import HOSTILE
from tests.test_slow_texts import pace

ROWS = [
    (row["text"], row["category"], row["type"])
    for row in csv.DictReader(
        (files("asu_stats") / "data" / "errors.csv").read_text("utf-8").splitlines(keepends=True)
    )
]
# Which texts a person calls the same, by how they begin; each other text is one of its own.
SAME = (
    ("JobTimeoutException: Task", "rq.timeouts.JobTimeoutException: T", "Task exceeded maximum"),
    (
        "error: ext4_allocate_best_fit_partial: failed to allocate 28",
        "error: ext4_allocate_best_fit_partial: failed to allocate 6298",
    ),
    (
        "Impossible package selection: kmod-usb-core version not",
        "Impossible package selection: luci-app-attendedsysupgrade version not",
    ),
    (
        "Impossible package selection: conflicts (dnsmasq",
        "Impossible package selection: conflicts (libuci",
    ),
    (
        "Collected errors:\n * check_data_file_clashes: Package iw-full",
        "Collected errors:\n * check_data_file_clashes: Package wpad-basic",
    ),
    (
        "Impossible package selection: missing (luci2s)",
        "Impossible package selection: missing (opkg)",
        "Error: Impossible package selection: missing (opkg)",
    ),
    (
        " * satisfy_dependencies_for: Cannot satisfy",
        "Collected errors:\n * satisfy_dependencies_for: Cannot satisfy the following dependencies "
        "for athdiag",
        "Collected errors:\n * satisfy_dependencies_for: Cannot satisfy the following dependencies "
        "for luci-ssl-openssl",
    ),
    ("Repository not allowed: https", "Repository not allowed: http:"),
    ("Downloading http://downloads.openwrt.org/releases/24.10.0", "Downloading https://fw.gl-inet"),
    ("Unsupported profile: cznic,turris-omnia", "Unsupported profile: linksys,e8450-ubi"),
    ("Unsupported target: ipq807x/generics", "Unsupported target: mediatek/mt7622"),
    ("Unsupported branch: 21.02-SNAPSHOT2", "Unsupported branch: 18.06.9"),
    (
        "Error: Received inncorrect version r26497",
        "Received incorrect version r12647",
        "Error: Received incorrect version r26711",
    ),
)
PACKAGES = {
    "ERROR: unable to select packages:\n  libuci20250117": "libuci20250117",
    "Impossible package selection: conflicts (dnsmasq": "dnsmasq",
    "ERROR: unable to select": None,
    "Building package index...\nERROR: unable to select": "opkg",
    "ERROR: luci-app-openvpn-server-3.0-r0": "luci-app-openvpn-server",
    "Collected errors:\n * check_data_file_clashes: Package iw-full": "iw-full",
    "Collected errors:\n * check_data_file_clashes: Package wpad-basic": "wpad-basic",
    "Impossible package selection: kmod-usb-core version": "kmod-usb-core",
    "Impossible package selection: missing (luci2s)": "luci2s",
    " * opkg_install_pkg: Checksum or size mismatch for package snmpd": "snmpd",
    "Error: Impossible package selection: missing (opkg)": "opkg",
    " * satisfy_dependencies_for: Cannot satisfy": "ppp-mod-pppoe",
    "Collected errors:\n * satisfy_dependencies_for: Cannot satisfy the following dependencies "
    "for athdiag": "athdiag",
    "Collected errors:\n * satisfy_dependencies_for: Cannot satisfy the following dependencies "
    "for luci-ssl-openssl": "luci-ssl-openssl",
    "Impossible package selection: missing (opkg)": "opkg",
    "Impossible package selection: conflicts (libuci20130104": "libuci20130104",
    "Impossible package selection: luci-app-attendedsysupgrade": "luci-app-attendedsysupgrade",
    "ERROR: wget: exited with error 3\nERROR: dnsproxy-0.81.0-r1": "dnsproxy",
    "Collected errors:\n * opkg_install_cmd: Cannot install package gl-sdk4": "gl-sdk4-ui-welcome",
}
NAMES = (
    *("luci-app-openvpn-server", "openvpn-openssl", "iw-full", "wpad-basic", "wpad-mini", "luci2s"),
    *("snmpd", "dnsmasq", "dnsmasq-full", "kmod-usb-core", "luci-app-attendedsysupgrade"),
    *("ppp-mod-pppoe", "athdiag", "qca-wifi", "luci-ssl-openssl", "gl-sdk4-ui-welcome"),
    *("gl-sdk4-ui-wgclient", "gl-sdk4-zerotier", "gl_compatible", "dnsproxy", "tl-wr703n-v1"),
    *("tplink_archer-c99-v1", "linksys,e8450-ubi", "cznic,turris-omnia", "zealous_carver"),
    *("libuci20250117", "libuci20130104"),
)
OTHERS = ["vim", "tcpdump", "kmod-usb3", "luci-app-sqm", "libubox20240329", "python3-light", "nano"]
_NAMED = re.compile("|".join(rf"(?<![\w-]){re.escape(n)}(?![\w-])" for n in NAMES))
_HEX = re.compile(r"(?<![\w.])(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{6,}(?![\w.])")
_NUMBERS = re.compile(r"(?<![\w.+-])\d{2,}(?![\w.-])")
# Numbers by which rules know a tool's trouble.
_MEANT = re.compile(r"curl: \(\d+\)|[Ee]rrno -?\d+|ERROR 404|\(\d+\)|error:? -?\d+|with error \d")


def starting(text: str) -> str:
    (found,) = (row[0] for row in ROWS if row[0].startswith(text))
    return found


def variant(rng: random.Random, text: str) -> str:
    """Return a text with other packages, devices, hashes, numbers and directories."""
    pieces, last = [], 0

    def changed(part: str) -> str:
        part = _NAMED.sub(lambda _: rng.choice(OTHERS), part)
        part = _HEX.sub(lambda m: "".join(["7", *rng.choices("abcdef", k=len(m[0]) - 1)]), part)
        part = _NUMBERS.sub(lambda m: str(rng.randint(10, 10 ** len(m[0]))), part)
        part = re.sub(
            r"/(?:public/store|srv/store|builder)(?=/)", f"/mnt/{rng.choice('abc')}", part
        )
        return re.sub(r"\br\d{4,6}-(?=\w)", f"r{rng.randint(20_000, 30_000)}-", part)

    for meant in _MEANT.finditer(text):
        pieces += [changed(text[last : meant.start()]), meant[0]]
        last = meant.end()
    return "".join([*pieces, changed(text[last:])])


def test_texts_fall_together_as_a_person_would_say() -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for row in ROWS:
        groups[fingerprints.of(*row).fingerprint].append(row[0])
    found = {frozenset(texts) for texts in groups.values() if len(texts) > 1}
    assert found == {frozenset(map(starting, group)) for group in SAME}


@pytest.mark.parametrize(("text", "category", "kind"), ROWS)
def test_variants_are_the_same(text: str, category: str, kind: str) -> None:
    rng = random.Random(text)
    wanted = fingerprints.of(text, category, kind)
    for _ in range(5):
        other = variant(rng, text)
        assert fingerprints.of(other, category, kind) == wanted, other
        assert fingerprints.of(f"Error: {other}", category, kind) == wanted, other
        assert fingerprints.of(other.replace("\n", "\r\n"), category, kind) == wanted, other


def test_the_log_around_a_cause_does_not_matter() -> None:
    def text(count: int, cause: str) -> str:
        before = "".join(f"Installing kmod-{n} (6.6.{n}-r1) to root...\n" for n in range(count))
        return f"{before}{cause}\n" + "make[2]: *** [Makefile:268: build_image] Error 2\n" * 3

    assert (
        pattern_of(text(0, "x.itb is too big: 2 > 1")) == "<file> is too big: <number> > <number>"
    )
    assert pattern_of(text(200, "yy.bin is too big: 25 > 11")) == pattern_of(
        text(0, "x.itb is too big: 2 > 1")
    )


def test_a_list_of_packages_is_one_placeholder() -> None:
    one, three = ("Impossible package selection: missing (a)", "... missing (a-b, c, d)")
    assert pattern_of(one).endswith("missing (<package>)")
    assert pattern_of(three).endswith("missing (<package>)")


@pytest.mark.parametrize("text", [None, "", " \n\t", "\0", "500", "failure", "Error:", "- 12 -"])
def test_a_text_without_content_is_known_by_its_type(text: str | None) -> None:
    found = fingerprints.of(text, "build", "build_timeout")
    assert found.pattern == "build_timeout (no text)"
    assert found != fingerprints.of(text, "build", "unknown")


def test_category_and_type_are_part_of_it() -> None:
    kinds = [fingerprints.of("Bad message (74)", *kind).fingerprint for kind in TAXONOMY]
    assert len(set(kinds)) == len(TAXONOMY)
    assert {len(kind) for kind in kinds} == {LENGTH}


def test_stored_fingerprints_stay_what_they_are() -> None:
    found = fingerprints.of("Error: Impossible package selection: missing (vim)", "build", "x")
    assert found == ("37544df1153a5c45", "impossible package selection: missing (<package>)")


def test_all_others_of_a_type_are_like_no_text() -> None:
    other = fingerprints.other("build", "unknown")
    for text in (other.pattern, "\0", ""):
        assert fingerprints.of(text, "build", "unknown").fingerprint != other.fingerprint


# Packages


def test_packages_of_every_text_that_names_one() -> None:
    found = {text: package for text, _, _ in ROWS if (package := package_of(text))}
    wanted = {text: name for text, name in PACKAGES.items() if name}
    assert len(found) == len(wanted)
    for begin, name in wanted.items():
        assert package_of(starting(begin)) == name


# Hostile texts


def test_hostile_texts_do_not_become_like_others() -> None:
    real = {fingerprints.of(text, "build", "unknown").fingerprint for text, _, _ in ROWS}
    hostile = {}
    for name, text in HOSTILE.items():
        found = fingerprints.of(text, "build", "unknown")
        assert len(found.pattern) <= 1_000
        assert found.fingerprint not in real
        if not found.pattern.endswith("(no text)"):
            hostile[name] = found.fingerprint
    assert len(set(hostile.values())) == len(hostile)
    around = [fingerprints.of(f"{'x' * 9_000}\n{text}", "a", "b") for text, _, _ in ROWS]
    alone = [fingerprints.of(text, "a", "b") for text, _, _ in ROWS]
    assert len(set(around)) > 0.9 * len(set(alone))


def test_16_kib_take_at_most_2_ms() -> None:
    def do(text: str) -> None:
        pattern_of.cache_clear()
        fingerprints.of(text, "build", "unknown")

    do("the first call builds the automaton")
    _, text = slow_texts.search(1.5, 7, do)
    texts = [text, *(text[: slow_texts.SIZE] for text in HOSTILE.values())]
    slowest = max(min(slow_texts.seconds(text, do) for _ in range(20)) for text in texts)
    sys.stdout.write(f"slowest fingerprint: {slowest * 1000:.2f} ms\n")
    assert slowest <= max(0.002, 12 * pace())  # the pace is 0.2 ms if the machine is unloaded
    assert slow_texts.seconds(text, package_of) <= max(0.002, 12 * pace())
