"""A disk that keeps only what was synced, and as much of the rest as a power failure leaves.

A name is on disk once its directory was synced, data once its file was. The order of directories is
kept, as journaling file systems do; data that was not synced may be there in any part, by sectors.
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from tests.powerloss.trace import Step

Loss = Literal["all", "data", "some", "nothing"]
LOSSES: Final[tuple[Loss, ...]] = ("all", "data", "some", "nothing")
_SECTOR: Final = 512


@dataclass(slots=True)
class _File:
    """Content on disk, and the changes since then."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[Step] = field(default_factory=list)


class Disk:
    """The files of a directory while steps are carried out. `deaf` are ends of names whose syncs
    do nothing, as if the program had left them out."""

    def __init__(self, start: Path, deaf: tuple[str, ...] = ()) -> None:
        self._start = str(start)
        self._deaf = deaf
        self._names: dict[str, _File | None] = {}  # now; a directory has no file
        self._durable: dict[str, _File | None] = {}
        self._changes: list[Step] = []  # of names, that are not on disk
        self._made: list[_File | None] = []  # what they name, if they create
        self._syncing: dict[int, tuple[_File | None, int]] = {}
        for path in (start, *start.rglob("*")):
            content = None if path.is_dir() else _File(bytearray(path.read_bytes()))
            self._names[str(path)] = self._durable[str(path)] = content

    def do(self, step: Step) -> None:
        if step.kind in {"write", "truncate", "extend"}:
            if (file := self._names.get(step.path)) is not None:
                file.pending.append(step)
        elif step.kind == "sync-begin":
            file = self._names.get(step.path)
            number = len(self._changes) if file is None else len(file.pending)
            self._syncing[step.thread] = file, number
        elif step.kind == "sync-end":
            self._synced(step.path, *self._syncing.pop(step.thread))
        elif step.kind != "create" or step.path not in self._names:
            file = _File() if step.kind == "create" else None
            self._changes.append(step)
            self._made.append(file)
            _apply(self._names, step, file)

    def _synced(self, path: str, file: _File | None, number: int) -> None:
        if path.endswith(self._deaf) and self._deaf:
            return
        if file is not None:
            for step in file.pending[:number]:
                _change(file.content, step)
            del file.pending[:number]
            return
        kept: list[tuple[Step, _File | None]] = []
        for place, (step, made) in enumerate(zip(self._changes, self._made, strict=True)):
            parents = {str(Path(each).parent) for each in (step.path, step.to) if each}
            if place < number and path in parents:
                _apply(self._durable, step, made)
            else:
                kept.append((step, made))
        self._changes, self._made = [step for step, _ in kept], [made for _, made in kept]

    def leave(self, target: Path, loss: Loss, rng: random.Random) -> None:
        """Write to `target` what is on disk after a power failure at this moment."""
        names = dict(self._durable)
        most = len(self._changes)
        number = {"all": 0, "some": rng.randint(0, most)}.get(loss, most)
        for step, made in zip(self._changes[:number], self._made, strict=False):
            _apply(names, step, made)
        for name, file in sorted(names.items()):
            path = target / os.path.relpath(name, self._start)
            if file is None:
                path.mkdir(exist_ok=True)
            elif path.parent.is_dir():  # else its directory is lost
                path.write_bytes(_remains(file, loss, rng))


def _remains(file: _File, loss: Loss, rng: random.Random) -> bytes:
    content = bytearray(file.content)
    for step in file.pending if loss in {"some", "nothing"} else ():
        if loss == "nothing":
            _change(content, step)
        elif step.kind != "write":
            if rng.random() < 0.5:
                _change(content, step)
        else:
            for at in range(0, len(step.data), _SECTOR):
                if rng.random() < 0.5:
                    part = step.data[at : at + _SECTOR]
                    _change(content, Step("write", step.path, step.offset + at, part))
    return bytes(content)


def _change(content: bytearray, step: Step) -> None:
    if step.kind == "truncate":
        del content[step.offset :]
    end = step.offset + len(step.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[step.offset : end] = step.data


def _apply(names: dict[str, _File | None], step: Step, made: _File | None) -> None:
    if step.kind in {"create", "mkdir"}:
        names[step.path] = made
    elif step.kind == "remove":
        names.pop(step.path, None)
    elif step.path in names:
        for name in [step.path, *(name for name in names if name.startswith(f"{step.path}/"))]:
            names[step.to + name.removeprefix(step.path)] = names.pop(name)
