"""Owner and mode of the files beside a database: those of the database, as SQLite does it.

If root runs a command while the service runs as another user, the service could not open the files
that root created. A file with the same data as the database must also be as private as it.
"""

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple, Self

from asu_stats.durability import sync_directory

_READ_WRITE = 0o666
# Files contain request hashes, with which anyone can fetch an image, and first-boot scripts.
PRIVATE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
# For files that others may read, such as images. The umask applies.
SHARED_DIRECTORY: Final = 0o777


class Owner(NamedTuple):
    """Owner of created files, and their permission bits; `None` for those of the caller."""

    uid: int
    gid: int
    mode: int | None = None

    @classmethod
    def of(cls, database: Path | None, place: Path) -> Self:
        """Return the owner of the database, or of `place` if there is no database file.

        If `place` does not exist, the owner of its first existing parent counts.
        """
        if database is not None:
            with contextlib.suppress(OSError):
                found = database.stat()
                return cls(found.st_uid, found.st_gid, found.st_mode & _READ_WRITE)
        return cls.of_directory(place)

    @classmethod
    def of_directory(cls, place: Path) -> Self:
        """Return the owner of a directory, or of its first existing parent."""
        for directory in (place, *place.absolute().parents):
            with contextlib.suppress(OSError):
                found = directory.stat()
                return cls(found.st_uid, found.st_gid)
        return cls(os.geteuid(), os.getegid())

    def create(self, path: Path, flags: int, mode: int) -> int:
        """Create a file and return its descriptor. Raises `OSError`, also if the file exists."""
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(path, flags, mode)
        try:
            self.give(file)
            if self.mode is not None:
                os.fchmod(file, self.mode)
        except BaseException:
            os.close(file)
            raise
        return file

    def open(self, path: Path, flags: int, mode: int) -> int:
        """Open a file, or create it, and return its descriptor.

        Raises `OSError`.
        """
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags | os.O_CLOEXEC)
        try:
            return self.create(path, flags, mode)
        except FileExistsError:  # another process was faster
            return os.open(path, flags | os.O_CLOEXEC)

    def make_directory(self, path: Path, mode: int = PRIVATE_DIRECTORY) -> None:
        """Create a directory and its parents, unless they exist. Their names are on disk then."""
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for directory in reversed(missing):
            try:
                directory.mkdir(mode)
            except FileExistsError:
                continue
            self.give(directory)
            if self.mode is not None:
                directory.chmod(self.mode | (self.mode & 0o444) >> 2)  # who may read may also enter
            with contextlib.suppress(PermissionError):  # a parent may be writable, not readable
                sync_directory(directory.parent)
        if not path.is_dir():
            path.mkdir()  # raises the reason

    def give(self, file: int | Path) -> None:
        """Change the owner of a file. Only root can do that; other users keep their files."""
        if os.geteuid() == 0:
            os.chown(file, self.uid, self.gid, follow_symlinks=isinstance(file, int))

    def give_all(self, directory: Path) -> None:
        """Change the owner of a directory and everything in it."""
        if os.geteuid() == 0:
            for place, _, names in os.walk(directory):
                for path in (Path(place), *(Path(place, name) for name in names)):
                    self.give(path)
