"""Result of an import: a summary, and a file of the rows that were not fully imported."""

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

    `early` rows are ahead of this host's clock. A later import takes them.
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

    def extend(self, at: datetime) -> None:
        """Extend the time range of the rows to `at`."""
        self.first = at if self.first is None else min(self.first, at)
        self.last = at if self.last is None else max(self.last, at)

    @property
    def duplicates(self) -> int:
        """Events that the store had before."""
        return self.events - self.accepted


class Rejected:
    """The file of rows that were rejected or imported in part: one JSON object per line.

    It is replaced at the first such row. If it cannot be written, `problem` is the reason, rows are
    only counted, and the import continues.
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
        """Write a row. `imported` tells whether it counts, without its invalid values."""
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
