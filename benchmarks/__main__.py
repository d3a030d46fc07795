"""`python -m benchmarks [PART …]`: measure, print tables and targets, write JSON and Markdown."""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks import (
    emitter_start,
    footprint,
    http,
    importing,
    ingest,
    insight_times,
    pages,
    processes,
    remote,
    report,
    reports,
    size,
    triggers,
    trips,
)
from benchmarks.report import Results

PARTS: Final[Mapping[str, Callable[[Results, Path, int], None]]] = {
    "reports": reports.run,
    "insights": insight_times.run,
    "ingest": ingest.run,
    "triggers": triggers.run,
    "http": http.run,
    "processes": processes.run,
    "remote": remote.run,
    "trips": trips.run,
    "size": size.run,
    "pages": pages.run,
    "import": importing.run,
    "emitter": emitter_start.run,
    "footprint": footprint.run,
}


@contextlib.contextmanager
def _kept(directory: Path | None) -> Iterator[Path]:
    if directory:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="asu-stats-benchmarks-") as name:
            yield Path(name)


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} or all")
    parser.add_argument("--size", type=int, default=1_000_000, help="requests in the database")
    parser.add_argument("--keep", type=Path, help="directory in which databases stay for next time")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    parser.add_argument("--markdown", type=Path, help="file to write the tables to")
    options = parser.parse_args()
    chosen = options.parts or ["all"]
    unknown = set(chosen) - {*PARTS, "all"}
    if unknown or options.size < 1:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}, all")
    results = Results(options.size)
    with _kept(options.keep) as keep:
        for name, run in PARTS.items():
            if name in chosen or "all" in chosen:
                run(results, keep, options.size)
                report.write(options.json, results.to_json())
                report.write(options.markdown, report.markdown(results))
    missed = [target for target in results.targets if not target.ok]
    print(f"\n{len(results.targets) - len(missed)} targets met, {len(missed)} missed")


if __name__ == "__main__":
    main()
