"""Output of the ImageBuilder, in the formats of its versions."""

import pytest

from asu_stats.builds.builders import BuildFailedError
from asu_stats.builds.builders.imagebuilder import (
    Description,
    check_manifest,
    difference,
    package_problem,
    read_manifest,
)

INFO = """Current Target: "ath79/generic"
Current Architecture: "mips"
Current Revision: "r28739-d9340319c6"
Default Packages: base-files ca-bundle
Available Profiles:

8dev_carambola2:
    8devices Carambola2
    Packages: kmod-usb-core
    hasImageMetadata: 1
    SupportedDevices: 8dev,carambola2 carambola2
plain:
    No Packages
"""


def test_a_description() -> None:
    found = Description.read(INFO, "8dev_carambola2")
    assert found.version_code == "r28739-d9340319c6"
    assert found.default_packages == {"base-files", "ca-bundle"}
    assert found.profile_packages == {"kmod-usb-core"}
    assert Description.read(INFO, "plain").profile_packages == frozenset()


@pytest.mark.parametrize(
    ("text", "profile", "error_type"),
    [
        ("", "plain", "imagebuilder_info_invalid"),
        (INFO.replace("Default Packages", "x"), "plain", "imagebuilder_info_invalid"),
        (INFO, "carambola2", "unsupported_profile"),
    ],
)
def test_a_description_that_is_not_there(text: str, profile: str, error_type: str) -> None:
    with pytest.raises(BuildFailedError) as caught:
        Description.read(text, profile)
    assert caught.value.type == error_type


def test_difference() -> None:
    assert difference(["luci", "ppp", "-x"], ["ppp", "dnsmasq", "-odhcpd"]) == [
        "-odhcpd",
        "-dnsmasq",
        "luci",
        "ppp",
        "-x",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "luci - 1.0\nppp - 2~3-r1\n",
        "luci 1.0\nppp 2~3-r1",
        "make: Entering directory x\nluci 1.0\nppp 2~3-r1\n\n",
    ],
)
def test_manifests(text: str) -> None:
    assert read_manifest(text) == {"luci": "1.0", "ppp": "2~3-r1"}


def test_a_manifest_is_compared() -> None:
    check_manifest({"luci": "1.0"}, {"luci": "1.0", "-ppp": ""})
    with pytest.raises(
        BuildFailedError, match=r"^Impossible package selection: ppp not in manifest$"
    ):
        check_manifest({"luci": "1.0"}, {"ppp": "1"})


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("", ""),
        (
            "Collected errors:\n * opkg_install_cmd: Cannot install package foo.\n",
            ": missing (foo)",
        ),
        (
            " * check_conflicts_for: The following packages conflict with one:\n"
            " * check_conflicts_for:         two *\n"
            " * opkg_install_cmd: Cannot install package one.\n",
            ": conflicts (one, two)",
        ),
        (
            " * check_data_file_clashes: Package three wants to install file /some/file\n"
            "        But that file is already provided by package  * four\n"
            " * opkg_install_cmd: Cannot install package four.\n",
            ": conflicts (four, three)",
        ),
        (
            "ERROR: unable to select packages:\n  foo (no such package):\n"
            "    required by: world[foo]\n  bar (no such package):\n    required by: world[bar]\n",
            ": missing (bar, foo)",
        ),
        (
            "ERROR: unable to select packages:\n  one-1.0:\n"
            "    conflicts: two-1.0[nftables=1.1.6-r1]\n"
            "    satisfies: world[nftables-json]\n               blah[nftables]\n"
            "  two-1.0:\n    conflicts: one-1.0[nftables=1.1.6-r1]\n    satisfies: world[x]\n",
            ": conflicts (one-1.0, two-1.0)",
        ),
        ("ERROR: one: trying to overwrite usr/x owned by two.\n", ": conflicts (one, two)"),
        (
            " * opkg_install_cmd: Cannot install package a.\n"
            "ERROR: one: trying to overwrite usr/x owned by two.\n",
            ": missing (a) conflicts (one, two)",
        ),
    ],
)
def test_package_problems(stderr: str, expected: str) -> None:
    assert package_problem(stderr) == f"Impossible package selection{expected}"
