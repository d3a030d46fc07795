"""Matches rows of `build_stats` with rows of the Go server's other tables, if unambiguous.

`build_stats` names no request. A row of it matches a row of another table if both have the same
version, target, profile and diff_packages, if they were written within seconds of each other in the
order in which the server writes them, and if neither has another such partner. A row with two
possible partners has no match. A match adds details (hash, client, packages, worker, start, error
text) and never changes a count.

- a request: the row of `build_requests`, which is written just before its event;
- a successful build: the row of `build_results`, which also has its duration;
- a failed build: the newest job of a hash, if it failed. Older jobs are not used, because the
  server overwrote them with the data of the newest.

A request gets its hash only if the hash has a single job and the end of that job is matched too.
Otherwise the request would seem to wait, or to have ended with another build of that hash.
"""

import sqlite3
from collections import Counter
from typing import Any, Final, NamedTuple

from asu_stats.importers import go_file

NEEDED: Final = {
    "build_requests": {
        *("request_hash", "version", "target", "profile", "packages", "packages_versions"),
        *("defaults", "rootfs_size_mb", "repositories", "diff_packages", "client", "created_at"),
    },
    "build_jobs": {
        *("id", "request_hash", "status", "started_at", "finished_at"),
        *("error_message", "worker_id"),
    },
    "build_results": {"request_hash", "build_at", "build_duration_seconds"},
}
# Seconds by which the event may precede (times without fraction) and follow its cause.
_BEFORE: Final = 1_000_000
_AFTER: Final = 5_000_000

_CREATE_TABLES: Final = """
    CREATE TEMP TABLE jobs (request_hash TEXT PRIMARY KEY, n INTEGER, last INTEGER) WITHOUT ROWID;
    INSERT INTO jobs
        SELECT request_hash, count(*), max(id) FROM main.build_jobs
        WHERE {of_jobs} GROUP BY request_hash;
    CREATE TEMP TABLE facts (
        id INTEGER PRIMARY KEY, kind TEXT, version TEXT, target TEXT, profile TEXT,
        diff INTEGER, seconds INTEGER, at INTEGER, request_hash TEXT
    );
    INSERT INTO facts (kind, version, target, profile, diff, seconds, at, request_hash)
        SELECT 'request', version, target, replace(profile, ',', '_'), diff_packages, NULL,
            micros(created_at), request_hash
        FROM main.build_requests AS r WHERE micros(created_at) IS NOT NULL AND {of_requests};
    INSERT INTO facts (kind, version, target, profile, diff, seconds, at, request_hash)
        SELECT 'build_completed', version, target, replace(profile, ',', '_'), diff_packages,
            build_duration_seconds, micros(build_at), request_hash
        FROM main.build_results AS r JOIN main.build_requests USING (request_hash)
        WHERE micros(build_at) IS NOT NULL AND {of_results};
    INSERT INTO facts (kind, version, target, profile, diff, seconds, at, request_hash)
        SELECT 'failure', r.version, r.target, replace(r.profile, ',', '_'), r.diff_packages, NULL,
            micros(j.finished_at), r.request_hash
        FROM temp.jobs JOIN main.build_jobs AS j ON j.id = jobs.last
            JOIN main.build_requests AS r ON r.request_hash = jobs.request_hash
        WHERE j.status = 'failed' AND micros(j.finished_at) IS NOT NULL;
    CREATE INDEX temp.facts_by_name ON facts (kind, version, target, profile, diff, at);
    CREATE TEMP TABLE pairs (row INTEGER, at INTEGER, fact INTEGER);
"""
_FIND_PAIRS: Final = """
    INSERT INTO pairs
        SELECT s.id, s.at, f.id
        FROM (
            SELECT id, event_type, version, target, profile, diff_packages, duration_seconds,
                micros(timestamp) AS at
            FROM main.build_stats
            WHERE event_type IN ('request', 'build_completed', 'failure')
                AND diff_packages IS NOT NULL AND id > :after_row
        ) AS s
        CROSS JOIN facts AS f
        WHERE f.kind = s.event_type AND f.version = s.version AND f.target = s.target
            AND f.profile = replace(s.profile, ',', '_') AND f.diff = s.diff_packages
            AND f.at BETWEEN s.at - :after AND s.at + :before
            AND (s.event_type <> 'build_completed' OR f.seconds = s.duration_seconds)
"""
_KEEP_UNAMBIGUOUS: Final = """
    CREATE TEMP TABLE matches (
        row INTEGER PRIMARY KEY, request_hash TEXT, at INTEGER, kind TEXT, end_row INTEGER
    );
    INSERT INTO matches
        SELECT p.row, f.request_hash, p.at, f.kind, NULL
        FROM (
            SELECT row, max(at) AS at, max(fact) AS fact
            FROM pairs GROUP BY row HAVING count(*) = 1
        ) AS p
            JOIN (SELECT fact FROM pairs GROUP BY fact HAVING count(*) = 1) USING (fact)
            JOIN facts AS f ON f.id = p.fact;
    DROP TABLE pairs;
    DROP TABLE facts;
    CREATE INDEX temp.matches_by_hash ON matches (request_hash, kind);
    UPDATE matches SET end_row = (
        SELECT e.row FROM matches AS e JOIN jobs USING (request_hash)
        WHERE e.request_hash = matches.request_hash AND e.kind <> 'request'
            AND e.row > matches.row AND e.at >= matches.at AND n = 1
    ) WHERE kind = 'request';
"""
_MATCH_OF_ROW: Final = """
    SELECT m.kind, m.request_hash, m.end_row, r.client, r.packages, r.packages_versions,
        r.defaults, r.rootfs_size_mb, r.repositories, j.status, j.started_at, j.error_message,
        j.worker_id
    FROM temp.matches AS m JOIN main.build_requests AS r ON r.request_hash = m.request_hash
        LEFT JOIN temp.jobs ON jobs.request_hash = m.request_hash
        LEFT JOIN main.build_jobs AS j ON j.id = jobs.last
    WHERE m.row = ?
"""
_HAS_WAITING_REQUEST: Final = """
    SELECT 1 FROM temp.matches
    WHERE kind = 'request' AND request_hash = ? AND end_row = ? AND row > ?
"""


# The rows of a pass: all, or only the latest ones if it follows a server.
_ALL: Final = {"of_jobs": "request_hash IS NOT NULL", "of_requests": "1", "of_results": "1"}
_LATEST: Final = {
    "of_jobs": "request_hash IN (SELECT request_hash FROM main.build_jobs WHERE id > "
    "(SELECT max(id) FROM main.build_jobs) - 5000)",
    "of_requests": "r.rowid > (SELECT max(rowid) FROM main.build_requests) - 5000",
    "of_results": "r.rowid > (SELECT max(rowid) FROM main.build_results) - 5000",
}


class Match(NamedTuple):
    """Data of a row from other tables.

    `end_row` of a request is the row of the build that it waited for. Without it the request must
    not get its hash.
    """

    kind: str
    request_hash: str
    end_row: int | None
    client: Any
    packages: Any
    packages_versions: Any
    defaults: Any
    rootfs_size_mb: Any
    repositories: Any
    job_status: Any
    started_at: Any
    error_message: Any
    worker_id: Any


class Matches:
    """The matches of a file, in temporary tables of the connection: memory stays flat.

    With `after` only later rows are matched, with the latest rows of other tables.
    """

    def __init__(self, connection: sqlite3.Connection, after: int | None = None) -> None:
        self._connection = connection
        self._after = after
        self.lacks = [
            f"{table} has no {', '.join(sorted(missing))}"
            for table, needed in NEEDED.items()
            if (missing := needed - go_file.columns(connection, table))
        ]
        if {"diff_packages", "duration_seconds"} - go_file.columns(connection, go_file.TABLE):
            self.lacks.append("build_stats has no diff_packages")
        if not self.lacks:
            self._find()

    def _find(self) -> None:
        for name in ("jobs", "facts", "pairs", "matches"):
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
        self._run(_CREATE_TABLES.format(**(_ALL if self._after is None else _LATEST)))
        # Rows shortly before are possible partners too, although they are imported already.
        first = -(2**63) if self._after is None else self._after - 1_000
        window = {"before": _BEFORE, "after": _AFTER, "after_row": first}
        self._connection.execute(_FIND_PAIRS, window)
        self._run(_KEEP_UNAMBIGUOUS)

    def _run(self, script: str) -> None:
        for statement in script.split(";"):  # executescript would end the read transaction
            if statement.strip():
                self._connection.execute(statement)

    def of(self, row_id: int) -> Match | None:
        """Return the match of a row."""
        if self.lacks:
            return None
        found = self._connection.execute(_MATCH_OF_ROW, (row_id,)).fetchone()
        return Match(*found) if found else None

    def is_paired(self, match: Match, row_id: int, after: int) -> bool:
        """Return whether `row_id` is the end that a request after the row `after` waited for."""
        found = self._connection.execute(_HAS_WAITING_REQUEST, (match.request_hash, row_id, after))
        return found.fetchone() is not None

    def counts(self) -> Counter[str]:
        """Return how many rows of each kind have a match, and how many requests have their hash."""
        if self.lacks:
            return Counter()
        query = "SELECT kind, count(*), count(end_row) FROM temp.matches GROUP BY kind"
        found: Counter[str] = Counter()
        for kind, rows, ended in self._connection.execute(query):
            found[kind] = rows
            if kind == "request":
                found["request with hash"] = ended
        return found
