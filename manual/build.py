"""Build the manual: docs/ and the pages in the root of the repository, as a site.

`python manual/build.py DIRECTORY [ROOT]` writes it there. A broken link or any other warning is an
error. The site needs no other host, and no inline script or style: servers forbid them by their
Content-Security-Policy.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

from sphinx.cmd.build import build_main

ROOT: Final = Path(__file__).parent.parent
_HERE: Final = ROOT / "manual"
_ICON: Final = ROOT / "src/asu_stats/dashboard/static/icon.svg"
_FROM_ROOT: Final = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
_TO_DOCS: Final = re.compile(r"\]\(((?:\.\./)*)docs/")
_TO_ROOT: Final = re.compile(rf"\]\((?:\.\./)+({'|'.join(map(re.escape, _FROM_ROOT))})")
# Scripts that run: neither with `src`, nor with a type, which marks data.
_SCRIPT: Final = re.compile(r"<script(?: data-cfasync=\"false\")?>(.*?)</script>", re.DOTALL)
_NO_SCRIPT: Final = re.compile(r"<noscript>.*?</noscript>", re.DOTALL)
_NEVER_SERVED: Final = ("_sources", ".buildinfo", "objects.inv", "_static/webpack-macros.html")
# The dashboard keeps its theme under the key that the theme of the manual would use too.
_THEME_KEY: Final = 'localStorage.setItem("theme",'
_OWN_KEY: Final = 'localStorage.setItem("manual-theme",'


def sources(directory: Path, root: Path) -> None:
    """Gather all pages below `root` in `directory`, with links as they are there."""
    shutil.copytree(root / "docs", directory)
    shutil.copy(_HERE / "index.md", directory)
    for name in _FROM_ROOT:
        text = (root / name).read_text("utf-8")
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(_TO_DOCS.sub(r"](\1", text), "utf-8")
    for path in directory.rglob("*.md"):
        up = "../" * (len(path.relative_to(directory).parts) - 1)
        text = path.read_text("utf-8")
        path.write_text(_TO_ROOT.sub(rf"]({up}\1", text), "utf-8")
    for name in ("conf.py", "_templates", "_static"):
        copy: Callable[[Path, Path], object]
        copy = shutil.copytree if (_HERE / name).is_dir() else shutil.copy
        copy(_HERE / name, directory / name)
    shutil.copy(_ICON, directory / "_static")


def finish(site: Path) -> None:
    """Move inline scripts into files, and remove what no reader needs."""
    for path in sorted(site.rglob("*.html")):
        up = "../" * (len(path.relative_to(site).parts) - 1)

        def moved(found: re.Match[str], up: str = up) -> str:
            name = f"_static/{blake2b(found[1].encode(), digest_size=8).hexdigest()}.js"
            (site / name).write_text(found[1], "utf-8")
            return f'<script src="{up}{name}"></script>'

        text = _NO_SCRIPT.sub("", path.read_text("utf-8"))
        path.write_text(_SCRIPT.sub(moved, text), "utf-8")
    theme = site / "_static/scripts/pydata-sphinx-theme.js"
    script = theme.read_text("utf-8")
    if script.count(_THEME_KEY) != 1:
        raise RuntimeError(f"{theme.name}: expected one {_THEME_KEY}")
    theme.write_text(script.replace(_THEME_KEY, _OWN_KEY), "utf-8")
    for name in _NEVER_SERVED:
        path = site / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in [*site.rglob("*.map"), *site.rglob("*.LICENSE.txt.gz")]:
        path.unlink()


def build(destination: Path, root: Path = ROOT) -> None:
    """Build the manual from the pages below `root`, and replace `destination` by it.

    Raises `RuntimeError` for any warning.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".manual-", dir=destination.parent) as scratch:
        pages, site = Path(scratch) / "pages", Path(scratch) / "site"
        sources(pages, root)
        options = ["-q", "-W", "--keep-going", "-b", "html", "-d", f"{scratch}/doctrees"]
        if build_main([*options, str(pages), str(site)]):
            raise RuntimeError("the manual has warnings, see above")
        finish(site)
        if destination.exists():
            destination.rename(Path(scratch) / "old")
        site.rename(destination)


if __name__ == "__main__":
    try:
        build(*(Path(argument).resolve() for argument in sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
