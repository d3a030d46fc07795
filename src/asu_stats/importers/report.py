"""What an import has come to: figures for its end, and the rows that could not be understood."""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Summary:
    """Counts of one run. `events` were sent, of which `accepted` were new to the store.

    `early` rows are ahead of this host's clock: another import takes them when their time has come.
    """

    source: str = ""
    rows: int = 0
    events: int = 0
    accepted: int = 0
    rejected: int = 0
    doubtful: int = 0
    early: int = 0
    first: datetime | None = None
    last: datetime | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    matched: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)

    def see(self, at: datetime) -> None:
        """Widen the time that the rows span."""
        self.first = at if self.first is None else min(self.first, at)
        self.last = at if self.last is None else max(self.last, at)

    @property
    def duplicates(self) -> int:
        """Events that the store knew before."""
        return self.events - self.accepted


class Rejected:
    """The file of rows that were not, or not wholly, understood: one JSON object a line.

    It is replaced when there is such a row. If it can't be written, `problem` says why and
    rows are only counted: the import goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk, which `put` has logged
                self._file.close()

    def put(self, row: Mapping[str, Any], reason: str, *, imported: bool) -> None:
        """Keep a row. `imported` tells whether it counts all the same, without what is wrong."""
        if self.problem is not None:
            return
        try:
            self._put(row, reason, imported=imported)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror}"
            log.warning("import: %s; rows that cannot be imported are only counted", self.problem)

    def _put(self, row: Mapping[str, Any], reason: str, *, imported: bool) -> None:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "w", encoding="utf-8")
        line = {"id": row.get("id"), "reason": reason, "imported": imported, "row": dict(row)}
        self._file.write(json.dumps(line, default=repr) + "\n")
        self._file.flush()
