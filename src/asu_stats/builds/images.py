"""The directory of built images: one folder per request hash.

A build writes into a folder of its own below `.staging`. Renaming it makes its images appear all
at once; renaming the old one into `.trash` makes them disappear at once. Names that begin with a
dot are never served.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from asu_stats.durability import sync_directory, sync_tree
from asu_stats.exceptions import AsuStatsError
from asu_stats.ownership import SHARED_DIRECTORY, Owner


class ImageStore:
    """Built images in `root`. Directories are created when needed."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - keeps links, works when absent
        self._staging = self.root / ".staging"
        self._trash = self.root / ".trash"

    def check_usable(self) -> None:
        """Check that builds can write here. Raises `OSError`."""
        probe = self.stage(f".{uuid.uuid4().hex}")  # with a dot: never taken for a build's
        appeared = self.root / probe.name
        probe.rename(appeared)
        appeared.rmdir()

    def stage(self, build_id: str) -> Path:
        """Create and return the working folder of a build."""
        directory = self._staging / build_id
        self._make(directory.parent)
        directory.mkdir()
        self._owner().give(directory)
        return directory

    def _owner(self) -> Owner:
        return Owner.of_directory(self.root)

    def _make(self, directory: Path) -> None:
        self._owner().make_directory(directory, SHARED_DIRECTORY)

    def staged(self) -> list[str]:
        """Return the build ids that have a working folder."""
        with contextlib.suppress(FileNotFoundError):
            names = (entry.name for entry in self._staging.iterdir())
            return sorted(name for name in names if not name.startswith("."))
        return []

    def discard(self, build_id: str) -> None:
        """Remove the working folder of a build, if it exists."""
        shutil.rmtree(self._staging / build_id, ignore_errors=True)

    def sync(self, directory: Path) -> None:
        """Write a staged `directory` to disk, which may take long, before it is published."""
        sync_tree(directory)

    def publish(self, directory: Path, request_hash: str) -> None:
        """Publish a staged `directory` as the images of a request hash."""
        self.retire(request_hash)
        self._owner().give_all(directory)
        directory.rename(self.root / request_hash)
        sync_directory(self.root)

    def retire(self, request_hash: str) -> None:
        """Move the images of a request hash, if any, to the trash."""
        self._make(self._trash)
        with contextlib.suppress(FileNotFoundError):
            (self.root / request_hash).rename(self._trash / uuid.uuid4().hex)

    def empty_trash(self) -> None:
        """Delete the images in the trash."""
        shutil.rmtree(self._trash, ignore_errors=True)

    def holds(self, request_hash: str, names: Iterable[str]) -> bool:
        """Return whether all images of a request hash exist."""
        directory = self.root / request_hash
        return all((directory / name).is_file() for name in names)

    def find(self, path: str) -> Path | None:
        """Return the file of a URL path, `None` unless it is in the store.

        Links out of the store and names that begin with a dot return `None`.
        """
        names = path.split("/")
        if not all(names) or any(name.startswith(".") or "\\" in name for name in names):
            return None
        try:
            root = self.root.resolve(strict=True)
            file = root.joinpath(*names).resolve(strict=True)
        except (OSError, ValueError):  # missing, name too long, NUL
            return None
        return file if file.is_relative_to(root) and file.is_file() else None


class UnsafeNameError(AsuStatsError):
    """A file name of a build that is not the plain name of a regular file."""


def plain_file(directory: Path, name: object) -> Path:
    """Return the file `name` of `directory`.

    Raises `UnsafeNameError` unless it is the plain name of a regular file in there: no path, no
    leading dot, not a link.
    """
    if not isinstance(name, str) or not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise UnsafeNameError(f"{ascii(name)[:80]} is not a plain file name")
    file = directory / name
    if len(name.encode()) > 255 or file.is_symlink() or not file.is_file():
        raise UnsafeNameError(f"{name[:80]} does not exist")
    return file
