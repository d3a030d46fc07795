"""What a process did to files, in order, as `strace` saw it."""

import codecs
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CALLS: Final = (
    "openat,write,pwrite64,lseek,ftruncate,fallocate,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
_LINE: Final = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$", re.DOTALL)
_RESULT: Final = re.compile(r" = (-?\d+)(?:<[^>]*>)?(?: [A-Z].*)?$")
_SYNCS: Final = frozenset({"fsync", "fdatasync"})
_UNFINISHED: Final = " <unfinished ...>"
_TEXT: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FILE: Final = re.compile(r"^(\d+)<(.*?)>(\(deleted\))?(?=[,) ]|$)")


@dataclass(frozen=True, slots=True)
class Step:
    """A change of files, or one half of a sync: it covers what was written before it began."""

    kind: str  # write, truncate, extend, sync-begin, sync-end, create, rename, remove, mkdir
    path: str
    offset: int = 0
    data: bytes = b""
    to: str = ""
    thread: int = 0


def available() -> bool:
    """Tell whether processes can be traced here."""
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-qq", "-e", "none", "true"], check=False).returncode == 0


def record(command: Sequence[str], directory: Path, log: Path, cwd: Path) -> list[Step]:
    """Run a command and return what it did to files below `directory`."""
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", str(1 << 24)]
    calls = ["-e", f"trace={_CALLS}", "-e", "signal=none"]
    subprocess.run([*strace, *calls, "-o", str(log), *command], check=True, cwd=cwd)
    prefix = f"{directory}{os.sep}"
    with log.open(encoding="latin-1", newline="\n") as lines:
        return [step for step in _steps(lines) if f"{step.path}/".startswith(prefix)]


def _steps(lines: Iterable[str]) -> Iterator[Step]:
    calls, begun = _Calls(), dict[int, tuple[str, str]]()
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        thread = int(match[1])
        if match[2] is None:
            call, start = begun.pop(thread)
            rest = start + match[5]
        else:
            call, rest = match[2], match[3]
            if call in _SYNCS:
                yield Step("sync-begin", _path(rest), thread=thread)
            if rest.endswith(_UNFINISHED):
                begun[thread] = call, rest.removesuffix(_UNFINISHED)
                continue
        result = _RESULT.search(rest)
        if result is None or int(result[1]) < 0:
            continue
        if call in _SYNCS:
            yield Step("sync-end", _path(rest), thread=thread)
        else:
            yield from calls.done(call, rest[: rest.rindex(")")], int(result[1]))


class _Calls:
    """What calls of the system do, with the place in each open file."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._appended: set[int] = set()
        self._sizes: dict[str, int] = {}

    def done(self, call: str, rest: str, result: int) -> Iterator[Step]:
        """Yield what a call has changed. `rest` are its arguments."""
        if call == "openat":
            yield from self._open(rest, result)
        elif call == "lseek":
            self._places[_file(rest)] = result
        elif call in {"write", "pwrite64"}:
            yield self._write(call, rest, result)
        elif call in {"ftruncate", "fallocate"}:
            yield self._resize(call, rest)
        elif call.startswith("rename"):
            old, new = map(os.path.normpath, _texts(rest))
            self._sizes[new] = self._sizes.pop(old, 0)
            yield Step("rename", old, to=new)
        elif call.startswith(("unlink", "rmdir")):
            self._sizes.pop(os.path.normpath(_texts(rest)[0]), None)
            yield Step("remove", os.path.normpath(_texts(rest)[0]))
        elif call.startswith("mkdir"):
            yield Step("mkdir", os.path.normpath(_texts(rest)[0]))

    def _open(self, rest: str, file: int) -> Iterator[Step]:
        path, flags = os.path.normpath(_texts(rest)[0]), rest.rpartition('"')[2]
        self._places[file] = 0
        self._appended.discard(file)
        if "O_CREAT" in flags:
            self._sizes.setdefault(path, 0)
            yield Step("create", path)
        if "O_TRUNC" in flags:
            self._sizes[path] = 0
            yield Step("truncate", path)
        if "O_APPEND" in flags:
            self._appended.add(file)

    def _write(self, call: str, rest: str, written: int) -> Step:
        file, path, data = _file(rest), _path(rest), _texts(rest)[0].encode("latin-1")
        if call == "pwrite64":
            offset = int(rest.rpartition(", ")[2])
        elif file in self._appended:
            offset = self._sizes.get(path, 0)
        else:
            offset = self._places.get(file, 0)
            self._places[file] = offset + written
        self._sizes[path] = max(self._sizes.get(path, 0), offset + written)
        return Step("write", path, offset, data[:written])

    def _resize(self, call: str, rest: str) -> Step:
        path, kind = _path(rest), "truncate"
        before, _, last = rest.rpartition(", ")
        size = int(last)
        if call == "fallocate":
            end = int(before.rpartition(", ")[2]) + size
            size, kind = max(self._sizes.get(path, 0), end), "extend"
        self._sizes[path] = size
        return Step(kind, path, size)


def _texts(rest: str) -> list[str]:
    return [_plain(match[1]) for match in _TEXT.finditer(rest)]


def _plain(text: str) -> str:
    decoded: bytes = codecs.escape_decode(text.encode("latin-1"))[0]
    return decoded.decode("latin-1")


def _file(rest: str) -> int:
    match = _FILE.match(rest)
    assert match, rest[:100]
    return int(match[1])


def _path(rest: str) -> str:
    match = _FILE.match(rest)
    assert match, rest[:100]
    return _plain(match[2]) + (match[3] or "")
