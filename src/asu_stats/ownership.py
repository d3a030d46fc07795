"""Owner and mode of the files beside a database: those of the database, as SQLite has it.

Root runs a command now and then, and the service runs as another user. What root made, the service
could not open. And a file that holds the same data as the database is as private as the database.
"""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple, Self

_READ_WRITE = 0o666


class Owner(NamedTuple):
    """Who gets a file that is made, and its permission bits; `None` for those of the caller."""

    uid: int
    gid: int
    mode: int | None = None

    @classmethod
    def of(cls, database: Path | None, place: Path) -> Self:
        """Return the owner of the database; without such a file, that of `place`.

        Where `place` is not there yet, the directory counts that it is to be made in.
        """
        if database is not None:
            with contextlib.suppress(OSError):
                found = database.stat()
                return cls(found.st_uid, found.st_gid, found.st_mode & _READ_WRITE)
        return cls.of_directory(place)

    @classmethod
    def of_directory(cls, place: Path) -> Self:
        """Return the owner of a directory, or of the one that it is to be made in."""
        for directory in (place, *place.absolute().parents):
            with contextlib.suppress(OSError):
                found = directory.stat()
                return cls(found.st_uid, found.st_gid)
        return cls(os.geteuid(), os.getegid())

    def create(self, path: Path, flags: int, mode: int) -> int:
        """Create a file and return its descriptor. Raises `OSError`, also where there is one."""
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
        """Open a file and return its descriptor; one that is not there is created.

        Raises `OSError`.
        """
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags | os.O_CLOEXEC)
        try:
            return self.create(path, flags, mode)
        except FileExistsError:  # another process was faster
            return os.open(path, flags | os.O_CLOEXEC)

    def make_directory(self, path: Path) -> None:
        """Make a directory and those above it, unless they are there."""
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for directory in reversed(missing):
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            self.give(directory)
            if self.mode is not None:
                directory.chmod(self.mode | (self.mode & 0o444) >> 2)  # to enter where to read
        if not path.is_dir():
            path.mkdir()  # raises what is wrong with it

    def give(self, file: int | Path) -> None:
        """Let a file belong to the owner. Only root can give files away; others keep theirs."""
        if os.geteuid() == 0:
            os.chown(file, self.uid, self.gid, follow_symlinks=isinstance(file, int))

    def give_all(self, directory: Path) -> None:
        """Let a directory belong to the owner, with all that is in it."""
        if os.geteuid() == 0:
            for place, _, names in os.walk(directory):
                for path in (Path(place), *(Path(place, name) for name in names)):
                    self.give(path)
