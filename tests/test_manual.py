"""The manual: a strict build, served without external resources."""

import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin, urlsplit

import pytest

from asu_stats.dashboard import manual
from asu_stats.legacy.endpoints import endpoints
from tests import once
from tests.support import Stats

ROOT = Path(__file__).parent.parent
FROM_ROOT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
LINK = re.compile(r"""(?:href|src|action)="([^"]*)\"""")


def run(destination: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, (ROOT / "manual" / "build.py", destination, root))]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(manual_site: Path) -> Path:
    return manual_site


@pytest.fixture
def served(built: Path, sqlite_prefixed: Stats, monkeypatch: pytest.MonkeyPatch) -> Stats:
    """A server below /stats that has the manual."""
    monkeypatch.setattr(manual, "DIRECTORY", built)
    return sqlite_prefixed


def test_every_page_is_in_the_manual(built: Path) -> None:
    pages = {p.relative_to(ROOT / "docs").with_suffix("") for p in (ROOT / "docs").rglob("*.md")}
    pages |= {Path(name).with_suffix("") for name in FROM_ROOT}
    start = (built / "index.html").read_text()
    assert len(pages) > 20
    for page in pages:
        assert (built / f"{page}.html").is_file(), page
        assert f'href="{page}.html"' in start, f"{page} is not in manual/index.md"


def test_nothing_is_inline_or_from_elsewhere(built: Path) -> None:
    for path in built.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script>|<style|\sstyle=|\son[a-z]+=\"|javascript:", text), path
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(\w+:[^"]*)"', text)
        assert loaded == [], path
    for path in built.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", path.read_text()), path


def test_links_lead_to_files_and_headings(served: Stats, built: Path) -> None:
    count = 0
    for path in sorted(built.rglob("*.html")):
        address = f"/stats/manual/{path.relative_to(built).as_posix()}"
        for link in set(LINK.findall(path.read_text())):
            place = urlsplit(urljoin(address, link.replace("&amp;", "&")))
            if place.scheme or not place.path.startswith("/stats/manual/"):
                assert place.scheme in {"https", "http"} or place.path in {"/stats/", "/stats/docs"}
                continue
            name = PurePosixPath(place.path).relative_to("/stats/manual")
            assert (built / name).is_file(), (path, link)
            count += 1
            if place.fragment and name.suffix == ".html":
                assert f'id="{place.fragment}"' in (built / name).read_text(), (path, link)
    assert count > 1000
    for page in ("migration.html", "reference/api.html", "search.html", "searchindex.js"):
        assert served.client.get(f"/manual/{page}").status_code == 200


# Page, a link in it, and a broken one instead.
BROKEN = (
    ("docs/install.md", "(deploy.md)", "(deployed.md)"),
    ("docs/install.md", "(dashboard.md#reverse-proxy)", "(dashboard.md#proxies)"),
    ("CONTRIBUTING.md", "(docs/alerts.md)", "(docs/nothing)"),
)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all these links, and what building it printed: a build takes seconds."""

    def build(directory: Path) -> None:
        shutil.copytree(ROOT / "docs", directory / "docs")
        for name in FROM_ROOT:
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
        for page, old, new in BROKEN:
            text = (directory / page).read_text()
            assert old in text
            (directory / page).write_text(text.replace(old, new))
        result = run(directory / "site", directory)
        (directory / "status").write_text(str(result.returncode))
        (directory / "stderr").write_text(result.stderr)

    return once.made(tmp_path_factory, "broken-manual", build)


@pytest.mark.parametrize(("page", "old", "new"), BROKEN)
def test_a_broken_link_is_an_error(broken: Path, page: str, old: str, new: str) -> None:
    assert old != new
    assert (broken / "status").read_text() == "1"
    target = new.strip("()").removeprefix("docs/").partition("#")
    found = rf"{Path(page).name}:\d+: WARNING: .*'{target[2] or target[0]}'"
    assert re.search(found, (broken / "stderr").read_text())
    assert not (broken / "site").exists()


def test_files_are_typed_compressed_and_revalidated(served: Stats) -> None:
    for name, kind in (
        ("index.html", "text/html; charset=utf-8"),
        ("searchindex.js", "text/javascript; charset=utf-8"),
        ("_static/manual.css", "text/css; charset=utf-8"),
        ("_static/icon.svg", "image/svg+xml"),
    ):
        answer = served.client.get(f"/manual/{name}", headers={"Accept-Encoding": "gzip"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["content-encoding"] == "gzip"
        assert "'unsafe" not in answer.headers["content-security-policy"]
        plain = served.client.get(f"/manual/{name}", headers={"Accept-Encoding": "identity"})
        assert plain.content == answer.content
        etag = answer.headers["etag"]
        for named in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
            known = {"If-None-Match": named}
            assert served.client.get(f"/manual/{name}", headers=known).status_code == 304


def test_only_files_of_the_manual_are_served(served: Stats, built: Path) -> None:
    (built.parent / "secret").write_text("x")
    for name in ("../secret", "%2e%2e/secret", "..%2fsecret", "nothing.html", "_static", "a%00b"):
        assert served.client.get(f"/manual/{name}").status_code == 404, name
    served.client.follow_redirects = False
    for path in ("/manual", "/manual/"):
        answer = served.client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/stats/manual/index.html")


def test_links_of_deprecated_endpoints_lead_to_their_replacements(served: Stats) -> None:
    page = served.client.get("/docs/migration")
    assert (page.status_code, page.url.path) == (200, "/stats/manual/migration.html")
    assert 'id="legacy-endpoints"' in page.text
    for shape in ("go", "upstream"):
        for endpoint in endpoints(shape):
            row = next(r for r in page.text.split("<tr") if f">{endpoint.name}" in r)
            assert (endpoint.successor or "").removeprefix("/api/v1/") in row, endpoint.name


def test_a_checkout_without_the_manual_says_how_to_build_it(
    sqlite_stats: Stats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual, "DIRECTORY", tmp_path / "none")
    for path in ("/manual", "/manual/index.html", "/docs/migration"):
        answer = sqlite_stats.client.get(path)
        assert answer.status_code == 404
        assert "make manual" in answer.text
