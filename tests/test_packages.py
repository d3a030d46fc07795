"""The wheel and the sdist: complete, reproducible, and without dependencies of the base."""

import email
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import packages
from tests.packages import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Build each kind of package twice."""
    return {
        kind: [packages.built(tmp_path_factory, kind, number) for number in (1, 2)]
        for kind in packages.KINDS
    }


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def files(*folders: str) -> set[str]:
    """Return the paths of all files below some folders of the project."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    found = {str(path.relative_to(ROOT)) for path in paths if path.parent.name != "__pycache__"}
    return {name for name in found if not name.startswith("src/asu_stats/manual/")}


@pytest.fixture
def wheel(built: dict[str, list[Path]]) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(built["wheel"][0]) as found:
        yield found


def test_the_wheel_holds_the_package_and_the_files_for_operators(wheel: zipfile.ZipFile) -> None:
    data = f"asu_stats-{project()['version']}.data/data/share"
    expected = {name.removeprefix("src/") for name in files("src/asu_stats")}
    expected |= {f"{data}/asu-stats/{n.removeprefix('deploy/')}" for n in files("deploy")}
    expected |= {f"{data}/doc/asu-stats/{n.removeprefix('docs/')}" for n in files("docs")}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name for name in held if "__pycache__" in name} == set()
    assert expected <= held


def test_the_wheel_has_the_manual_and_the_sdist_its_sources(
    wheel: zipfile.ZipFile, built: dict[str, list[Path]]
) -> None:
    held = set(wheel.namelist())
    for page in ("index", "install", "reference/api", "CHANGELOG"):
        assert f"asu_stats/manual/{page}.html" in held
    assert "asu_stats/manual/searchindex.js" in held
    with tarfile.open(built["sdist"][0]) as found:
        names = {name.partition("/")[2] for name in found.getnames()}
    assert files("manual") | {"hatch_build.py", "CONTRIBUTING.md"} <= names
    assert {name for name in names if name.startswith("src/asu_stats/manual")} == set()


def test_the_base_needs_no_other_package(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = email.message_from_string(wheel.read(name).decode())
    needed = metadata.get_all("Requires-Dist") or []
    assert needed
    assert [line for line in needed if "extra ==" not in line] == []


@pytest.mark.parametrize("kind", packages.KINDS)
def test_builds_are_reproducible(built: dict[str, list[Path]], kind: str) -> None:
    first, second = (path.read_bytes() for path in built[kind])
    assert first == second


def test_the_sdist_holds_what_tests_and_make_need(built: dict[str, list[Path]]) -> None:
    with tarfile.open(built["sdist"][0]) as found:
        held = {name.partition("/")[2] for name in found.getnames()}
    needed = files("src", "tests", "benchmarks", "requirements", "deploy", "docs")
    assert needed | {"Makefile", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= held
