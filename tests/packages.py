"""Wheels and sdists of this checkout, each built once by all workers of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import pytest
from hatchling import build

from tests import once

ROOT: Final = Path(__file__).parent.parent
Kind = Literal["wheel", "sdist"]
KINDS: Final[dict[Kind, Callable[[str], str]]] = {
    "wheel": build.build_wheel,
    "sdist": build.build_sdist,
}


def built(factory: pytest.TempPathFactory, kind: Kind, number: int) -> Path:
    """Return a package. Each number is a build of its own: one takes up to seven seconds."""

    def make(directory: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
            KINDS[kind](str(directory))

    directory = once.made(factory, f"{kind}{number}", make)
    (package,) = directory.iterdir()
    return package
