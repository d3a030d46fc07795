"""Steps into the gap between two steps of the program, on purpose."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from tests.patience import SECONDS as PATIENCE

HESITATION = 0.3  # seconds that a step waits for one that should wait for it


@contextmanager
def after(
    place: ModuleType | type | object, name: str, act: Callable[[], object]
) -> Iterator[None]:
    """Run `act` once, right after the first call of a function."""
    with _stepping(place, name, act, first=False):
        yield


@contextmanager
def before(
    place: ModuleType | type | object, name: str, act: Callable[[], object]
) -> Iterator[None]:
    """Run `act` once, right before the first call of a function."""
    with _stepping(place, name, act, first=True):
        yield


@contextmanager
def _stepping(place: Any, name: str, act: Callable[[], object], *, first: bool) -> Iterator[None]:
    real, stepped = getattr(place, name), threading.Event()

    def stepping(*given: Any, **more: Any) -> Any:
        mine = not stepped.is_set()
        stepped.set()
        if mine and first:
            act()
        found = real(*given, **more)
        if mine and not first:
            act()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, stepping)
        yield
    assert stepped.is_set(), f"{name} was never called"


class Beside:
    """Something that another thread does, which may have to wait for this one."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.found: list[Any] = []
        self._act = act
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.found.append(self._act())
        except Exception as error:
            self.found.append(error)

    def start(self) -> None:
        """Start, and leave it the time to end if nothing holds it up."""
        self._thread.start()
        self._thread.join(HESITATION)

    def result(self) -> Any:
        """Return what it returned."""
        self._thread.join(PATIENCE)
        assert self.found, "it never ended"
        if isinstance(self.found[0], Exception):
            raise self.found[0]
        return self.found[0]
