"""`python -m benchmarks.insights [PART …]`: accuracy of insights.

`incidents` plays a history with known incidents and one without. `cache` and `capacity` are
compared with simulations, `forecast` with `statsforecast`, `changes` with `ruptures`,
`fingerprints` with groups by a person.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.insights import caches, capacity, changes, forecasts, incidents, texts
from benchmarks.report import Results

PARTS: Final[Mapping[str, Callable[[Results, int, int], None]]] = {
    "fingerprints": texts.run,
    "cache": caches.run,
    "capacity": capacity.run,
    "forecast": forecasts.run,
    "changes": changes.run,
    "incidents": incidents.run,
}


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(prog="benchmarks.insights", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} or all")
    parser.add_argument("--days", type=int, default=120, help="days of a history")
    parser.add_argument("--per-day", type=int, default=400, help="requests a day")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    parser.add_argument("--markdown", type=Path, help="file to write the tables to")
    options = parser.parse_args()
    chosen = set(options.parts or ["all"])
    if unknown := chosen - {*PARTS, "all"}:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}, all")
    results = Results(options.days * options.per_day)
    for name, run in PARTS.items():
        if name in chosen or "all" in chosen:
            run(results, options.days, options.per_day)
            report.write(options.json, results.to_json())
            report.write(options.markdown, report.markdown(results))
    print(f"\n{report.as_text(report.targets_table(results.targets))}")


if __name__ == "__main__":
    main()
